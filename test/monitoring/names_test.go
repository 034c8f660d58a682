// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests what config/monitoring ships: rules, their pages, and the dashboard.
package monitoring

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/telemetry"
)

const testsFile = "rules.test.yaml"

// rule is one alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules is a PrometheusRule, as much of it as is used.
type rules struct {
	Spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

func shippedRules(t *testing.T) rules {
	t.Helper()
	var shipped rules
	if err := yaml.Unmarshal([]byte(read(t, "../../config/monitoring/rules.yaml")), &shipped); err != nil {
		t.Fatal(err)
	}
	return shipped
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryAlertSaysWhatSomebodyOnCallNeeds(t *testing.T) {
	var named []string
	for _, group := range shippedRules(t).Spec.Groups {
		for _, r := range group.Rules {
			named = append(named, r.Alert)
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: its severity is %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s does not say what is wrong", r.Alert)
			}
			const base = "https://github.com/valetkey/valetkey/blob/main/"
			if page, ok := strings.CutPrefix(r.Annotations["runbook_url"], base); !ok || page != "docs/runbooks/"+r.Alert+".md" {
				t.Errorf("%s: its page is %q", r.Alert, r.Annotations["runbook_url"])
			}
			page := read(t, filepath.Join("..", "..", "docs", "runbooks", r.Alert+".md"))
			for _, part := range []string{"# " + r.Alert + "\n", "\n## What it means\n", "\n## Look\n", "\n## Do\n", "    kubectl "} {
				if !strings.Contains(page, part) {
					t.Errorf("the page of %s has no %q", r.Alert, part)
				}
			}
			if !strings.Contains(read(t, "../../docs/metrics.md"), "[`"+r.Alert+"`](runbooks/"+r.Alert+".md)") {
				t.Errorf("docs/metrics.md does not link the page of %s", r.Alert)
			}
		}
	}
	pages, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil || len(pages) != len(named) || len(named) == 0 {
		t.Errorf("there are %d pages for %d alerts: %v", len(pages), len(named), err)
	}
}

// TestEveryAlertIsTested: with an input that makes it fire, and with one where all is well.
func TestEveryAlertIsTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alertname string `json:"alertname"`
				Alerts    []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal([]byte(read(t, testsFile)), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for i, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Alerts) > 0 {
				fires[c.Alertname] = true
			} else if i == 0 {
				silent[c.Alertname] = true
			}
		}
	}
	for _, group := range shippedRules(t).Spec.Groups {
		for _, r := range group.Rules {
			if !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s: there is a test that it fires: %v; that it is silent when all is well: %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
		}
	}
}

// register is a registry that only remembers what is registered.
type register map[string]bool

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (r register) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for desc := range descs {
		r[fqName.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

func (r register) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = r.Register(c)
	}
}

func (register) Unregister(prometheus.Collector) bool { return false }

// told are the metrics that the operator has.
func told(t *testing.T) []string {
	t.Helper()
	r, now := register{}, clocktesting.NewFakePassiveClock(time.Time{})
	if _, err := telemetry.New(r); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.NewInstrument(r, noop.NewTracerProvider().Tracer(""), now); err != nil {
		t.Fatal(err)
	}
	r.MustRegister(telemetry.NewLiving(nil, nil, nil, now))
	return slices.Sorted(maps.Keys(r))
}

var (
	ours = regexp.MustCompile(`\bvaletkey_[a-z_]+`)
	part = regexp.MustCompile(`_(bucket|count|sum)$`)
)

func TestRulesAndDashboardAskForWhatThereIs(t *testing.T) {
	for _, file := range []string{"../../config/monitoring/rules.yaml", dashboardFile, testsFile} {
		asked := ours.FindAllString(read(t, file), -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for nothing", file)
		}
		for _, name := range asked {
			if name = part.ReplaceAllString(name, ""); !slices.Contains(told(t), name) {
				t.Errorf("%s asks for %s, which the operator does not tell", file, name)
			}
		}
	}
}

func TestThePageNamesEveryMetric(t *testing.T) {
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(valetkey_[a-z_]+)` \\|").FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		named = append(named, row[1])
	}
	slices.Sort(named)
	if diff := cmp.Diff(told(t), named); diff != "" {
		t.Error(diff)
	}
}
