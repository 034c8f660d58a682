// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sample counts, at one moment, what the machine, the API server and the operator have done so far, and says what lay between two
// such moments.
package sample

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Operator names the operator's process in a sample.
const Operator = "operator"

// Source is what is sampled.
type Source struct {
	// Processes by name. The sampling process itself is added.
	Processes map[string]int
	// APIServer reads the API server's metrics.
	APIServer rest.Interface
	// Metrics is the address of the operator's metrics; empty where none runs.
	Metrics string
	// Peak follows the operator's memory; nil where none runs.
	Peak *Peak
}

// Sample is what was counted at one moment.
type Sample struct {
	at         time.Time
	operatorID int
	cpu, mib   map[string]float64
	busy, peak float64
	calls      map[string]float64
	rules      map[string]cost
	own        map[string]float64
	inside     map[string]float64
	heap       float64
	goroutines float64
}

type cost struct{ count, seconds float64 }

// Usage is what lay between two samples. What is counted for each unit is divided by how many units there were.
type Usage struct {
	// CPU is processor time in seconds by process, and MiB resident memory at the end.
	CPU, MiB map[string]float64
	// PeakMiB is the most that the operator had resident in between.
	PeakMiB float64 `json:",omitempty"`
	// HeapMiB and Goroutines are the operator's at the end.
	HeapMiB, Goroutines float64 `json:",omitempty"`
	// Calls are everybody's for each unit, by verb and resource, as the API server counted them. Own are the operator's, by method.
	Calls, Own map[string]float64
	// Inside are the operator's reconciles for each unit, by controller and result, the seconds that they took, and MiB allocated.
	Inside map[string]float64 `json:",omitempty"`
	// Rules are what admission policies cost the API server, by kind.
	Rules map[string]Rule `json:",omitempty"`
	// Foreign is how many cores other processes used, and Load the load average at the end.
	Foreign, Load float64
}

// Rule is how often one kind of admission policies looked at a write for each unit, and for how long each time.
type Rule struct{ Count, Microseconds float64 }

// At is when the sample was taken.
func (s Sample) At() time.Time { return s.at }

// CPU is the processor time that a process had used, in seconds.
func (s Sample) CPU(process string) float64 { return s.cpu[process] }

// Calls are all that the API server had counted, by verb and resource.
func (s Sample) Calls() map[string]float64 { return s.calls }

// Take samples a source.
func Take(ctx context.Context, from Source) (Sample, error) {
	s := Sample{at: time.Now(), operatorID: from.Processes[Operator], cpu: map[string]float64{}, mib: map[string]float64{}, calls: map[string]float64{}, rules: map[string]cost{},
		own: map[string]float64{}, inside: map[string]float64{}}
	if err := s.processes(from.Processes); err != nil {
		return s, err
	}
	if from.Peak != nil {
		s.peak = from.Peak.Take()
	}
	if err := s.apiServer(ctx, from.APIServer); err != nil || from.Metrics == "" {
		return s, err
	}
	return s, s.operator(ctx, from.Metrics)
}

func (s *Sample) processes(all map[string]int) (err error) {
	if s.busy, err = busy(); err != nil {
		return err
	}
	for name, pid := range all {
		if s.cpu[name], err = CPU(pid); err != nil {
			return err
		}
		if s.mib[name], err = Resident(pid); err != nil {
			return err
		}
	}
	s.cpu["bench"], err = CPU(os.Getpid())
	return err
}

func (s *Sample) apiServer(ctx context.Context, from rest.Interface) error {
	page, err := from.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("the API server's metrics: %w", err)
	}
	found, err := read(page, requests, admissionCount, admissionSum)
	for _, f := range found {
		rule := s.rules[f.labels["name"]]
		switch f.name {
		case requests:
			s.calls[call(f.labels)] += f.value
			continue
		case admissionCount:
			rule.count += f.value
		case admissionSum:
			rule.seconds += f.value
		}
		s.rules[f.labels["name"]] = rule
	}
	return err
}

func (s *Sample) operator(ctx context.Context, address string) error {
	page, err := Fetch(ctx, "http://"+address+"/metrics")
	if err != nil {
		return err
	}
	found, err := read(page, clientCalls, reconciles, reconcileTime, allocated, heapInUse, goroutines)
	for _, f := range found {
		switch f.name {
		case clientCalls:
			s.own[f.labels["method"]] += f.value
		case reconciles:
			s.inside[f.labels["controller"]+" "+f.labels["result"]] += f.value
		case reconcileTime:
			s.inside[f.labels["controller"]+" seconds"] += f.value
		case allocated:
			s.inside["MiB allocated"] = f.value / mib
		case heapInUse:
			s.heap = f.value / mib
		case goroutines:
			s.goroutines = f.value
		}
	}
	return err
}

// Fetch is the body of a page.
func Fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}

// Since is what happened from an earlier sample until this one, in n units. Of an operator that was started in between, it is all that it did.
func (s Sample) Since(before Sample, n int) Usage {
	units := float64(max(n, 1))
	if s.operatorID != before.operatorID {
		before.own, before.inside, before.cpu = nil, nil, maps.Clone(before.cpu)
		before.cpu[Operator] = 0
	}
	u := Usage{CPU: map[string]float64{}, MiB: s.mib, PeakMiB: max(s.peak, s.mib[Operator]), HeapMiB: s.heap, Goroutines: s.goroutines, Load: Load(),
		Calls: difference(s.calls, before.calls, units), Own: difference(s.own, before.own, units), Inside: difference(s.inside, before.inside, units),
		Rules: map[string]Rule{}}
	known := 0.0
	for name, total := range s.cpu {
		if was, there := before.cpu[name]; there {
			u.CPU[name] = total - was
			known += total - was
		}
	}
	if seconds := s.at.Sub(before.at).Seconds(); seconds > 0 {
		u.Foreign = max(0, s.busy-before.busy-known) / seconds
	}
	for kind, total := range s.rules {
		was := before.rules[kind]
		if count := total.count - was.count; count > 0 && strings.HasSuffix(kind, "AdmissionPolicy") {
			u.Rules[kind] = Rule{Count: count / units, Microseconds: 1e6 * (total.seconds - was.seconds) / count}
		}
	}
	return u
}

// difference leaves out what happened for fewer than one in five hundred units: it is somebody else's.
func difference(now, before map[string]float64, units float64) map[string]float64 {
	const least = 0.002
	d := map[string]float64{}
	for key, n := range now {
		if each := (n - before[key]) / units; each >= least {
			d[key] = each
		}
	}
	return d
}
