// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// dashboardFile is what is shipped.
const dashboardFile = "../../config/monitoring/dashboard.json"

// strict reads a dashboard as Grafana's own types have it; a field that they do not know is an error.
func strict(text []byte) error {
	types := cog.NewRuntime()
	types.RegisterPanelcfgVariant(stat.VariantConfig())
	types.RegisterPanelcfgVariant(timeseries.VariantConfig())
	types.RegisterDataqueryVariant(prometheus.VariantConfig())
	err := (&dashboard.Dashboard{}).UnmarshalJSONStrict(text) //nolint:staticcheck // files and ConfigMaps still hold the first version
	var problems cog.BuildErrors
	if errors.As(err, &problems) && len(problems) == 0 {
		return nil // the types return their list of problems even if none is in it
	}
	return err
}

func TestTheDashboardIsAsGrafanasTypesHaveIt(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := strict(text); err != nil {
		t.Fatal(err)
	}
	d := &dashboard.Dashboard{} //nolint:staticcheck // see strict
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	titles := map[string]bool{}
	for _, entry := range d.Panels {
		p := entry.Panel
		if p == nil || p.Title == nil || titles[*p.Title] || p.Description == nil || *p.Description == "" || len(p.Targets) == 0 {
			t.Fatalf("a panel has no title of its own, no description or no query: %+v", p)
		}
		titles[*p.Title] = true
		for _, q := range p.Targets {
			if q.(*prometheus.Dataquery).Expr == "" {
				t.Errorf("%s: a query is empty", *p.Title)
			}
		}
	}
}

func TestWhatGrafanasTypesDoNotKnowIsFound(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a field of a panel":   {`"gridPos"`, `"gridPosition"`},
		"a field of a query":   {`"legendFormat"`, `"legend"`},
		"an option of a panel": {`"colorMode"`, `"colourMode"`},
		"a number as a text":   {`"schemaVersion": 39`, `"schemaVersion": ` + strconv.Quote("39")},
	} {
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if err := strict([]byte(changed)); err == nil || changed == string(text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
