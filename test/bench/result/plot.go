// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // which makes files that end in .svg

	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// The size of each plot.
const (
	width  = 18 * vg.Centimeter
	height = 10 * vg.Centimeter
)

// Plot draws, as SVG files in a folder, what was measured: the stages of one grant at a time, how far bursts and ends have come by when, and memory
// by living grants. What was not measured is not drawn.
func Plot(dir string, all []Result) error {
	errs := []error{plotStages(filepath.Join(dir, "stages.svg"), all), plotMemory(filepath.Join(dir, "memory.svg"), all)}
	for _, c := range []struct {
		step, title string
		stage       timeline.Stage
	}{
		{"burst", "A burst of requests: Jobs started", timeline.Started},
		{"finish", "Many Jobs end at once: grants ended", timeline.Ended},
		{"reap", "Many grants expire in the same second: Secrets gone", timeline.SecretGone},
		{"freeze", "The kill switch: Secrets gone", timeline.SecretGone},
	} {
		errs = append(errs, plotCurves(filepath.Join(dir, c.step+".svg"), c.title, set(all), c.step, c.stage))
	}
	return errors.Join(errs...)
}

// floors and the product, in the order of legends.
func actors() []string { return []string{Least, Design, Product} }

// plotStages draws when each stage of one grant at a time was seen. The least floor stores some of them together, at another time than their name says:
// of it those are drawn that it has in the same order.
func plotStages(path string, all []Result) error {
	stages := []timeline.Stage{timeline.Answered, timeline.Reviewed, timeline.Granted, timeline.Begun, timeline.Stored, timeline.Issued, timeline.Started, timeline.Delivered}
	ofLeast := []timeline.Stage{timeline.Answered, timeline.Granted, timeline.Stored, timeline.Started}
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Y.Min = "One grant at a time: median of when each stage was seen", "ms after the request's create call", 0
	p.Legend.Top, p.Legend.Left = true, true
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = string(s)
	}
	p.NominalX(names...)
	var lines []any
	for _, actor := range actors() {
		var points plotter.XYs
		for i, s := range stages {
			if actor == Least && !slices.Contains(ofLeast, s) {
				continue
			}
			if ms, measured := set(all).of(actor, "single", false, p50(s)); measured && ms > 0 {
				points = append(points, plotter.XY{X: float64(i), Y: ms})
			}
		}
		if len(points) > 0 {
			lines = append(lines, actor, points)
		}
	}
	return save(p, path, lines, plotutil.AddLinePoints)
}

// plotCurves draws how many hundredths had come to a stage by when, of the middle round of each actor.
func plotCurves(path, title string, all set, step string, stage timeline.Stage) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "seconds", "%"
	p.X.Min, p.Y.Min = 0, 0
	var lines []any
	for _, actor := range actors() {
		curve := all.middle(actor, step).Curves[stage]
		points := make(plotter.XYs, len(curve))
		for i, at := range curve {
			points[i] = plotter.XY{X: at, Y: float64(i+1) * 100 / float64(len(curve))}
		}
		if len(points) > 0 {
			lines = append(lines, actor, points)
		}
	}
	return save(p, path, lines, plotutil.AddLines)
}

// middle is the round of an actor's step, with the most units, that took neither shortest nor longest.
func (s set) middle(actor, step string) Result {
	var rounds []Result
	for _, r := range s {
		switch {
		case r.Actor != actor || r.Step != step || len(rounds) > 0 && r.N < rounds[0].N:
			continue
		case len(rounds) > 0 && r.N > rounds[0].N:
			rounds = nil
		}
		rounds = append(rounds, r)
	}
	if len(rounds) == 0 {
		return Result{}
	}
	slices.SortFunc(rounds, func(a, b Result) int {
		if a.Seconds < b.Seconds {
			return -1
		}
		return 1
	})
	return rounds[len(rounds)/2]
}

// plotMemory draws the operator's memory by how many grants lived.
func plotMemory(path string, all []Result) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "The operator's resident memory", "living grants", "MiB"
	p.X.Min, p.Y.Min = 0, 0
	p.Legend.Top, p.Legend.Left = true, true
	var rest, peaks plotter.XYs
	for _, r := range all {
		if r.Actor != Product || r.MiB[sample.Operator] == 0 {
			continue
		}
		if r.Step == "adopt" || r.Step == "rest" {
			rest = append(rest, plotter.XY{X: float64(r.Living), Y: r.MiB[sample.Operator]})
		}
		peaks = append(peaks, plotter.XY{X: float64(r.Living), Y: r.PeakMiB})
	}
	if len(peaks) == 0 {
		return nil
	}
	if err := plotutil.AddScatters(p, "at rest", rest, "peaks in steps", peaks); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return p.Save(width, height, path)
}

// save draws lines, unless there are none.
func save(p *plot.Plot, path string, lines []any, add func(*plot.Plot, ...any) error) error {
	if len(lines) == 0 {
		return nil
	}
	if err := add(p, lines...); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return p.Save(width, height, path)
}
