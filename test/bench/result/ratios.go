// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"io"
	"strings"

	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// many is how many living grants make a measurement one beside many.
const many = 100

// set is all that was measured, for ratios to pick from.
type set []Result

// of is the median of a figure over the rounds of an actor's step, beside few living grants or many. Of steps that were taken with several
// sizes it is the largest; false if there is none.
func (s set) of(actor, step string, standing bool, get func(Result) float64) (float64, bool) {
	largest := 0
	var rounds []Result
	for _, r := range s {
		if r.Actor != actor || r.Step != step || r.Bare || standing != (r.Standing >= many) || r.N < largest {
			continue
		}
		if r.N > largest {
			largest, rounds = r.N, nil
		}
		rounds = append(rounds, r)
	}
	return median(rounds, get)
}

// ratio is a figure of the product's, divided by the same figure of a floor, both beside few living grants.
func ratio(step, floor string, get func(Result) float64) func(set) (float64, bool) {
	return compared(step, floor, false, get)
}

// compared is a figure of the product's, divided by the same figure of a floor.
func compared(step, floor string, standing bool, get func(Result) float64) func(set) (float64, bool) {
	return func(s set) (float64, bool) {
		ours, measured := s.of(Product, step, standing, get)
		base, compared := s.of(floor, step, standing, get)
		if !measured || !compared || base == 0 {
			return 0, false
		}
		return ours / base, true
	}
}

// plain is a figure of the product's as it is.
func plain(step string, standing bool, get func(Result) float64) func(set) (float64, bool) {
	return func(s set) (float64, bool) { return s.of(Product, step, standing, get) }
}

func p50(s timeline.Stage) func(Result) float64 {
	return func(r Result) float64 { return r.Latency[s].P50 }
}

func p99(s timeline.Stage) func(Result) float64 {
	return func(r Result) float64 { return r.Latency[s].P99 }
}

func last(s timeline.Stage) func(Result) float64 {
	return func(r Result) float64 { return r.Latency[s].Max }
}

// reached is when the last unit came to a stage, in seconds after the step began.
func reached(s timeline.Stage) func(Result) float64 {
	return func(r Result) float64 {
		if curve := r.Curves[s]; len(curve) > 0 {
			return curve[len(curve)-1]
		}
		return 0
	}
}

func value(name string) func(Result) float64 { return func(r Result) float64 { return r.Values[name] } }

func rate(r Result) float64 { return r.PerSecond }

func cpuOfEach(r Result) float64 {
	return 1000 * r.CPU[sample.Operator] / float64(max(1, r.N-r.Missing))
}

func memory(r Result) float64 { return r.MiB[sample.Operator] }

// Ratio is a figure that is followed from release to release.
type Ratio struct {
	// Name never changes.
	Name string
	// Meaning is a line for readers.
	Meaning string
	find    func(set) (float64, bool)
}

// Ratios are those of what one grant costs, and what many do.
func Ratios() []Ratio {
	return append(append(alone(), beside()...), decisions()...)
}

// alone are about a cluster where few grants live.
func alone() []Ratio {
	const single, closed, burst, finish, expire, freeze = "single", "closed", "burst", "finish", "reap", "freeze"
	return []Ratio{
		{"single_p50_of_design", "one at a time, until the Job is started: median, times the design floor's", ratio(single, Design, p50(timeline.Started))},
		{"single_p99_of_design", "the same, 99th percentile", ratio(single, Design, p99(timeline.Started))},
		{"single_p50_of_least", "one at a time, until the Job is started: median, times the least floor's", ratio(single, Least, p50(timeline.Started))},
		{"closed_rate_of_design", "16 at once: grants a second, of the design floor's", ratio(closed, Design, rate)},
		{"closed_rate_of_least", "16 at once: grants a second, of the least floor's", ratio(closed, Least, rate)},
		{"burst_last_of_design", "a burst: until the last Job is started, times the design floor's", ratio(burst, Design, reached(timeline.Started))},
		{"cpu_ms_for_each", "a burst: the operator's processor time for each grant, in ms", plain(burst, false, cpuOfEach)},
		{"finish_rate_of_design", "many Jobs end at once: ends a second, of the design floor's", ratio(finish, Design, rate)},
		{"finish_rate_of_least", "many Jobs end at once: ends a second, of the least floor's", ratio(finish, Least, rate)},
		{"expire_secret_last_of_design", "many expire in the same second: until the last Secret is gone, times the design floor's", ratio(expire, Design, last(timeline.SecretGone))},
		{"expire_ended_last_of_design", "the same, until the last has ended", ratio(expire, Design, last(timeline.Ended))},
		{"expire_secret_last_of_least", "many expire in the same second: until the last Secret is gone, times the least floor's", ratio(expire, Least, last(timeline.SecretGone))},
		{"expire_ended_last_of_least", "the same, until the last has ended", ratio(expire, Least, last(timeline.Ended))},
		{"freeze_secret_last_of_design", "the kill switch: until the last Secret is gone, times the design floor's", compared(freeze, Design, true, last(timeline.SecretGone))},
		{"freeze_secret_last_of_least", "the same, times the least floor's", compared(freeze, Least, true, last(timeline.SecretGone))},
		{"accounts_p50_of_before", "many more ServiceAccounts in the namespace: median, times that before", plain("accounts", false, value("p50OfBefore"))},
		{"crowd_p50_of_before", "many foreign Jobs, Secrets and Pods: median, times that before", plain("crowd", false, value("p50OfBefore"))},
		{"crowd_rss_of_before", "the same: resident memory, times that before", plain("crowd", false, value("rssOfBefore"))},
		{"soak_rss_of_ten_minutes", "a soak: resident memory at its end, times that after ten minutes", plain("soak", false, value("rssOfTenMinutes"))},
	}
}

// beside are about a cluster where many grants live.
func beside() []Ratio {
	return []Ratio{
		{"standing_living", "how many grants live where the following are measured", plain("adopt", true, func(r Result) float64 { return float64(r.Standing) })},
		{"standing_rss_mib", "resident memory at rest, in MiB", plain("adopt", true, memory)},
		{"standing_peak_mib", "the most resident memory in a restart, a ripple or a burst, in MiB", standingPeak},
		{"standing_cpu_ms_for_each", "a burst: the operator's processor time for each grant, in ms", plain("burst", true, cpuOfEach)},
		{"standing_single_p50_ms", "one at a time, until the Job is started: median, in ms", plain("single", true, p50(timeline.Started))},
		{"restart_ready_s", "a restart: until the operator is ready, in s", plain("restart", true, value("ready"))},
		{"restart_first_grant_s", "a restart: until a request that waits is granted and its Job started, in s", plain("restart", true, value("firstGrant"))},
		{"restart_at_rest_s", "a restart: until the operator is at rest, in s", plain("restart", true, value("atRest"))},
		{"ripple_cpu_s", "one Role is stored in a foreign namespace: the operator's processor time, in s", plain("ripple", true, value("cpu"))},
		{"policies_longest_wait_s", "many policies are stored: the longest that a new request waits for its Job meanwhile, in s", plain("policies", true, value("longestWait"))},
	}
}

// standingPeak is the most of the steps that can take most.
func standingPeak(s set) (float64, bool) {
	most, measured := 0.0, false
	for _, step := range []string{"restart", "ripple", "burst"} {
		if peak, found := s.of(Product, step, true, func(r Result) float64 { return r.PeakMiB }); found {
			most, measured = max(most, peak), true
		}
	}
	return most, measured
}

// decisions are about policies alone.
func decisions() []Ratio {
	return []Ratio{
		{"policies_allowed_per_s", "many policies about other repositories: requests allowed a second, by one core", plain("decide", false, value("allowed"))},
		{"policies_refused_per_s", "the same, requests refused", plain("decide", false, value("refused"))},
	}
}

// PrintRatios writes one line with all of them, in their order. What was not measured is a dash.
func PrintRatios(to io.Writer, all []Result) error {
	words := []string{"RATIOS"}
	for _, r := range Ratios() {
		text := "-"
		if v, measured := r.find(all); measured {
			text = fmt.Sprintf("%.4g", v)
		}
		words = append(words, r.Name+"="+text)
	}
	_, err := fmt.Fprintln(to, strings.Join(words, " "))
	return err
}
