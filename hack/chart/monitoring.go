// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// monitored are the parts of config/monitoring, by the value that turns each on.
var monitored = map[string]string{"rules": "rules.yaml", "podMonitor": "podmonitor.yaml", "dashboard": "dashboard.json"}

// writeMonitoring writes a template for each part. What looks like a template in an alert or a legend is text.
func writeMonitoring() error {
	for value, base := range monitored {
		file := filepath.Join(source, "monitoring", base)
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(b), "{{", "{{ `{{` }}")
		if filepath.Ext(base) == ".json" {
			text = dashboardHead + "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
		}
		const labels = "  labels: {app.kubernetes.io/name: valetkey"
		if strings.Count(text, labels) != 1 {
			return fmt.Errorf("%s: there is not one place for more labels: mend hack/chart", file)
		}
		text = strings.Replace(text, labels, labels+"{{ range $k, $v := .Values.monitoring.labels }}, {{ $k | quote }}: {{ $v | quote }}{{ end }}", 1)
		text = fmt.Sprintf("{{- /* Generated from %s by hack/chart; DO NOT EDIT. */ -}}\n{{- if .Values.monitoring.%s.enabled }}\n%s{{- end }}\n", file, value, text)
		if err := os.WriteFile(filepath.Join(target, "monitoring-"+strings.ToLower(value)+".yaml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// dashboardHead is what kustomize's generator makes of the dashboard.
const dashboardHead = `apiVersion: v1
kind: ConfigMap
metadata:
  name: valetkey-dashboard
  namespace: valetkey-system
  labels: {app.kubernetes.io/name: valetkey, grafana_dashboard: "1"}
data:
  valetkey.json: |
`
