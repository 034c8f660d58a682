// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

func started(p50, p99 float64) map[timeline.Stage]Quantiles {
	return map[timeline.Stage]Quantiles{timeline.Started: {N: 10, P50: p50, P99: p99, Max: p99}}
}

// rounds are three of the product and three of each floor.
func rounds() []Result {
	var all []Result
	for i := range 3 {
		d := float64(i)
		all = append(all,
			Result{Actor: Design, Step: "single", N: 10, Round: i, Latency: started(50+d, 100)},
			Result{Actor: Least, Step: "single", N: 10, Round: i, Latency: started(25+d, 60)},
			Result{Actor: Product, Step: "single", N: 10, Round: i, Latency: started(100+4*d, 150), Usage: sample.Usage{MiB: map[string]float64{sample.Operator: 80}}},
			Result{Actor: Product, Step: "single", N: 10, Round: i, Standing: 500, Latency: started(900, 990)},
			Result{Actor: Product, Step: "burst", N: 10, Round: i, Standing: 500, Usage: sample.Usage{PeakMiB: 200 + d}},
			Result{Actor: Product, Step: "restart", N: 1, Round: i, Standing: 500, Values: map[string]float64{"ready": 2 + d}, Usage: sample.Usage{PeakMiB: 300}},
			Result{Actor: Product, Step: "burst", N: 10, Round: i, Curves: map[timeline.Stage][]float64{timeline.Started: {1, 2, 6 + d}}},
			Result{Actor: Product, Step: "freeze", N: 200, Round: i, Standing: 200, Latency: map[timeline.Stage]Quantiles{timeline.SecretGone: {Max: 30}}},
			Result{Actor: Design, Step: "freeze", N: 200, Round: i, Standing: 200, Latency: map[timeline.Stage]Quantiles{timeline.SecretGone: {Max: 20}}},
			Result{Actor: Design, Step: "burst", N: 10, Round: i, Curves: map[timeline.Stage][]float64{timeline.Started: {1, 2, 2}}},
		)
	}
	return all
}

func TestRatios_AreMediansOfTheSameRun(t *testing.T) {
	var out bytes.Buffer
	if err := PrintRatios(&out, rounds()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, word := range strings.Fields(out.String())[1:] {
		name, value, _ := strings.Cut(word, "=")
		got[name] = value
	}
	if len(got) != len(Ratios()) {
		t.Errorf("%d figures are printed, of %d", len(got), len(Ratios()))
	}
	for name, want := range map[string]string{
		"single_p50_of_design": "2.039", "single_p99_of_design": "1.5", "single_p50_of_least": "4", "burst_last_of_design": "3.5", "standing_single_p50_ms": "900",
		"standing_peak_mib": "300", "restart_ready_s": "3", "closed_rate_of_design": "-", "freeze_secret_last_of_design": "1.5", "freeze_secret_last_of_least": "-",
	} {
		if got[name] != want {
			t.Errorf("%s=%s, want %s", name, got[name], want)
		}
	}
}

func TestTable_ComparesTheProductWithItsFloors(t *testing.T) {
	var out bytes.Buffer
	if err := Table(&out, rounds()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| single | 10 | 0 | product | 3 | 0 |", "104.0 (2.04 × design) (4.00 × least)", "| single | 10 | 500 | product | 3 | 0 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not stand in\n%s", want, out.String())
		}
	}
}

func TestPlot_DrawsWhatWasMeasured(t *testing.T) {
	dir := t.TempDir()
	if err := Plot(dir, rounds()); err != nil {
		t.Fatal(err)
	}
	var drawn []string
	files, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		drawn = append(drawn, filepath.Base(f))
	}
	if diff := cmp.Diff([]string{"burst.svg", "memory.svg", "stages.svg"}, drawn); diff != "" {
		t.Error(diff)
	}
	if err := Plot(t.TempDir(), nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

func TestRead_ReadsWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	want := rounds()
	var lines bytes.Buffer
	for _, r := range want {
		if err := json.NewEncoder(&lines).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOf_TellsQuantilesInMilliseconds(t *testing.T) {
	var list []time.Duration
	for i := range 200 {
		list = append(list, time.Duration(200-i)*time.Millisecond)
	}
	if diff := cmp.Diff(Quantiles{N: 200, P50: 101, P99: 199, Max: 200}, Of(list)); diff != "" {
		t.Error(diff)
	}
	if got := Curve(list); len(got) != 100 || got[0] != 0.002 || got[99] != 0.2 {
		t.Errorf("the curve is %v", got)
	}
}

// TestRatios_StandInTheDocument keeps docs/performance.md from drifting.
func TestRatios_StandInTheDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Ratios() {
		if row := "| `" + r.Name + "` | " + r.Meaning + " |"; !strings.Contains(string(text), row) {
			t.Errorf("there is no row %s", row)
		}
	}
}
