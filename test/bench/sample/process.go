// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package sample

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// ticks are those of the clock in /proc, a second.
const ticks = 100

// mib is a MiB in bytes.
const mib = 1 << 20

// ClusterProcesses finds the cluster's programs as the host numbers them: they live in a PID namespace of their own.
func ClusterProcesses(c *localcluster.Cluster) (map[string]int, error) {
	programs, err := c.Programs()
	if err != nil {
		return nil, err
	}
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.SupervisorPID()))
	if err != nil {
		return nil, err
	}
	inside := map[string]string{}
	for _, p := range programs {
		if p.Running {
			inside[strconv.Itoa(p.PID)] = p.Name
		}
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, dir := range all {
		if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != own {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		if numbers := field(pid, "NSpid:"); len(numbers) > 0 && inside[numbers[len(numbers)-1]] != "" {
			found[inside[numbers[len(numbers)-1]]] = pid
		}
	}
	return found, nil
}

// field is what /proc/PID/status says under a name.
func field(pid int, name string) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Fields(line)
}

// CPU is the processor time that a process has used, in seconds.
func CPU(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The program's name, in brackets, may have blanks in it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, fmt.Errorf("the status of process %d has %d fields", pid, len(fields))
	}
	return sum(fields[user:system+1]) / ticks, nil
}

// sum adds numbers up; what is none counts as 0.
func sum(words []string) float64 {
	total := 0.0
	for _, word := range words {
		n, _ := strconv.ParseFloat(word, 64)
		total += n
	}
	return total
}

// Resident is the memory that a process has in RAM, in MiB.
func Resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("the memory of process %d is not told", pid)
	}
	return sum(fields[1:2]) * float64(os.Getpagesize()) / mib, nil
}

// busy is the processor time that the machine has used, in seconds.
func busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	const user, idle, irq, steal = 1, 4, 6, 8
	if len(fields) <= steal {
		return 0, fmt.Errorf("unexpected processor time %q", line)
	}
	// Between idle and interrupts stands the waiting for disks.
	return sum(append(fields[user:idle:idle], fields[irq:steal]...)) / ticks, nil
}

// Load is the machine's load average over the last minute.
func Load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	return sum(strings.Fields(string(text))[:1])
}

// Foreign is how many cores are used by others than this process and some, over a while.
func Foreign(ctx context.Context, processes map[string]int, while time.Duration) (float64, error) {
	used := func() (float64, error) {
		all, err := busy()
		if err != nil {
			return 0, err
		}
		for _, pid := range append(slices.Collect(maps.Values(processes)), os.Getpid()) {
			own, err := CPU(pid)
			if err != nil {
				return 0, err
			}
			all -= own
		}
		return all, nil
	}
	before, err := used()
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timer.C:
	}
	after, err := used()
	return max(0, after-before) / while.Seconds(), err
}

// Peak follows a process's memory.
type Peak struct {
	mu   sync.Mutex
	most float64
}

// peakInterval is how often it is looked at: often enough to see what the garbage collector takes back within a second.
const peakInterval = 50 * time.Millisecond

// FollowPeak looks at a process's memory until the context ends.
func FollowPeak(ctx context.Context, pid int) *Peak {
	p := &Peak{}
	ticker := time.NewTicker(peakInterval)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if now, err := Resident(pid); err == nil {
					p.add(now)
				}
			}
		}
	}()
	return p
}

func (p *Peak) add(now float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, now)
}

// Take is the most, in MiB, since it was taken last.
func (p *Peak) Take() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.most
	p.most = 0
	return most
}
