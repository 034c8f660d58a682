// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// key is what the rounds of a measurement have in common.
type key struct {
	backend, step, actor string
	n, standing          int
	bare                 bool
}

func keyOf(r Result) key { return key{r.Backend, r.Step, r.Actor, r.N, r.Standing, r.Bare} }

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.standing, other.standing), cmp.Compare(k.step, other.step), cmp.Compare(k.n, other.n), cmp.Compare(k.actor, other.actor),
		cmp.Compare(k.backend, other.backend))
}

// of is the same measurement of another actor.
func (k key) of(actor string) key {
	k.actor = actor
	return k
}

// group puts rounds together.
func group(all []Result) map[key][]Result {
	groups := map[key][]Result{}
	for _, r := range all {
		groups[keyOf(r)] = append(groups[keyOf(r)], r)
	}
	return groups
}

// median is that of a figure over rounds; false if there are none.
func median(rounds []Result, get func(Result) float64) (float64, bool) {
	if len(rounds) == 0 {
		return 0, false
	}
	list := make([]float64, len(rounds))
	for i, r := range rounds {
		list[i] = get(r)
	}
	slices.Sort(list)
	return list[len(list)/2], true
}

// decisive is the stage that a step is about. Of an end that a Job brings about, it is counted from the Job's: what the job-controller takes to
// say that is not the operator's.
func decisive(r Result) Quantiles {
	if q, measured := r.AfterJob[timeline.Ended]; measured {
		return q
	}
	for _, s := range []timeline.Stage{timeline.Started, timeline.Ended, timeline.GrantGone, timeline.Named} {
		if q, measured := r.Latency[s]; measured {
			return q
		}
	}
	return Quantiles{}
}

// column is one of the table.
type column struct {
	title string
	get   func(Result) float64
	// compared is followed by its ratio to the floors.
	compared bool
}

func columns() []column {
	return []column{
		{"a second", func(r Result) float64 { return r.PerSecond }, true},
		{"p50, ms", func(r Result) float64 { return decisive(r).P50 }, true},
		{"p99, ms", func(r Result) float64 { return decisive(r).P99 }, true},
		{"operator CPU, ms for each", func(r Result) float64 { return 1000 * r.CPU[sample.Operator] / float64(max(1, r.N)) }, false},
		{"operator MiB", func(r Result) float64 { return r.MiB[sample.Operator] }, false},
		{"peak", func(r Result) float64 { return r.PeakMiB }, false},
		{"foreign cores", func(r Result) float64 { return r.Foreign }, false},
	}
}

// Table writes, in Markdown, the medians over the rounds of each measurement, and for the product how they compare with the floors.
func Table(to io.Writer, all []Result) error {
	groups := group(all)
	keys := make([]key, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, key.compare)
	head, rule := "| step | n | beside | actor | rounds | missing |", "|---|---|---|---|---|---|"
	for _, c := range columns() {
		head, rule = head+" "+c.title+" |", rule+"---|"
	}
	if _, err := fmt.Fprintf(to, "%s\n%s\n", head, rule); err != nil {
		return err
	}
	for _, k := range keys {
		missing := 0
		for _, r := range groups[k] {
			missing += r.Missing
		}
		row := fmt.Sprintf("| %s | %d | %d | %s | %d | %d |", k.step, k.n, k.standing, k.actor, len(groups[k]), missing)
		for _, c := range columns() {
			row += " " + cell(groups, k, c) + " |"
		}
		if _, err := fmt.Fprintln(to, row); err != nil {
			return err
		}
	}
	return nil
}

// cell is a median, and its ratio to that of each floor.
func cell(groups map[key][]Result, k key, c column) string {
	value, _ := median(groups[k], c.get)
	if value == 0 {
		return ""
	}
	text := fmt.Sprintf("%.1f", value)
	if k.actor != Product || !c.compared {
		return text
	}
	for _, floor := range []string{Design, Least} {
		if base, measured := median(groups[k.of(floor)], c.get); measured && base > 0 {
			text += fmt.Sprintf(" (%.2f × %s)", value/base, floor)
		}
	}
	return text
}
