// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package result holds what the benchmark measured, and makes a table, ratios and plots of it.
package result

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// The actors: who grants. The floors are bare clients.
const (
	Design  = "design"  // each write that the operator makes
	Least   = "least"   // the writes that a grant cannot do without
	Three   = "three"   // an object, a Secret, the object's status
	Product = "product" // Valetkey
)

// Result is one step of one turn.
type Result struct {
	// Actor, Step and Backend say what was measured; Durable that etcd called fsync, and Bare that there were no admission rules.
	Actor, Step, Backend string
	Durable              bool `json:",omitempty"`
	Bare                 bool `json:",omitempty"`
	// Round is the round of the turn. N units were worked on, Workers of them at once, of which Missing did not come to their end in time.
	Round, N, Workers, Missing int
	// Living grants there were when the step ended. Standing is how many were there before the turn's own, for the steps that measure beside
	// many.
	Living, Standing int
	// Seconds is how long the step took, and PerSecond the units that it completed in each.
	Seconds, PerSecond float64
	// Latency is from the step's beginning of a unit until a watch showed the stage: from the request's create call, from what ends a grant,
	// or from its expiry. AfterJob is from the Job's end instead.
	Latency  map[timeline.Stage]Quantiles `json:",omitempty"`
	AfterJob map[timeline.Stage]Quantiles `json:",omitempty"`
	// Curves say when, in seconds after the step began, each hundredth of the units had come to a stage.
	Curves map[timeline.Stage][]float64 `json:",omitempty"`
	// Values are the step's own figures, by name.
	Values map[string]float64 `json:",omitempty"`
	sample.Usage
}

// Quantiles are of durations, in milliseconds.
type Quantiles struct {
	N             int
	P50, P99, Max float64
}

// Of are the quantiles of a list, which it sorts.
func Of(list []time.Duration) Quantiles {
	if len(list) == 0 {
		return Quantiles{}
	}
	slices.Sort(list)
	at := func(p float64) float64 {
		return float64(list[min(len(list)-1, int(p*float64(len(list))))].Microseconds()) / 1000
	}
	return Quantiles{len(list), at(0.5), at(0.99), at(1)}
}

// Curve says when each hundredth of a list was over, in seconds.
func Curve(list []time.Duration) []float64 {
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	const parts = 100
	curve := make([]float64, 0, parts)
	for i := 1; i <= parts; i++ {
		curve = append(curve, list[max(0, i*len(list)/parts-1)].Seconds())
	}
	return curve
}

// Read reads results from files, a JSON object a line.
func Read(paths ...string) ([]Result, error) {
	var all []Result
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		some, err := decode(f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func decode(from io.Reader) ([]Result, error) {
	var all []Result
	lines := bufio.NewScanner(from)
	const longest = 1 << 20
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, lines.Err()
}

// String is what is printed while the benchmark runs.
func (r Result) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-8s %-9s n=%d workers=%d missing=%d %.2fs %.1f/s living=%d", r.Actor, r.Step, r.N, r.Workers, r.Missing, r.Seconds, r.PerSecond, r.Living)
	for _, stages := range []map[timeline.Stage]Quantiles{r.Latency, r.AfterJob} {
		if len(stages) > 0 {
			s.WriteString("\n    ms p50/p99:")
		}
		for _, name := range byMedian(stages) {
			fmt.Fprintf(&s, " %s=%.1f/%.1f", name, stages[name].P50, stages[name].P99)
		}
	}
	fmt.Fprintf(&s, "\n    cpu s:%s foreign=%.2f load=%.1f; operator MiB=%.0f peak=%.0f heap=%.0f", figures(r.CPU), r.Foreign, r.Load, r.MiB[sample.Operator], r.PeakMiB, r.HeapMiB)
	for title, values := range map[string]map[string]float64{"values": r.Values, "calls": r.Calls, "own": r.Own} {
		if len(values) > 0 {
			fmt.Fprintf(&s, "\n    %s:%s", title, figures(values))
		}
	}
	return s.String()
}

// byMedian are stages in the order in which they come.
func byMedian(stages map[timeline.Stage]Quantiles) []timeline.Stage {
	return slices.SortedFunc(maps.Keys(stages), func(a, b timeline.Stage) int {
		if stages[a].P50 < stages[b].P50 {
			return -1
		}
		return 1
	})
}

// figures are values by name, the greatest first.
func figures(values map[string]float64) string {
	var s strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		if values[a] > values[b] {
			return -1
		}
		return strings.Compare(a, b)
	}) {
		fmt.Fprintf(&s, " [%s %.3g]", name, values[name])
	}
	return s.String()
}
