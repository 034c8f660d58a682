// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package timeline records when each stage of a request was first seen by a watch.
package timeline

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Stage is something that happens to a request once.
type Stage string

// The stages, in the order in which they happen. Asked, Answered, Approving and Ending are marked by whoever makes the call; watches show
// the others.
const (
	Held       Stage = "held"       // the job-controller has seen that the Job is suspended
	Asked      Stage = "asked"      // the request's create call begins
	Answered   Stage = "answered"   // that call has returned
	Reviewed   Stage = "reviewed"   // the request's status.review is stored
	Approving  Stage = "approving"  // the approver's call begins
	Granted    Stage = "granted"    // the grant is stored
	Named      Stage = "named"      // the request's status names its grant
	Begun      Stage = "begun"      // the grant's status.attempt is stored
	Stored     Stage = "stored"     // the Secret is stored
	Issued     Stage = "issued"     // the grant's status.issuedAt is stored
	Started    Stage = "started"    // the Job's spec.suspend is false
	Delivered  Stage = "delivered"  // the grant's condition Delivered is True
	PodMade    Stage = "podMade"    // the job-controller has made the Pod
	Running    Stage = "running"    // the grant's condition Running is True
	Expiry     Stage = "expiry"     // the grant's status.expiresAt
	Ending     Stage = "ending"     // whatever ends the grant begins
	Finished   Stage = "finished"   // the Job is Complete or Failed
	Stopping   Stage = "stopping"   // the grant's status.stop is stored
	SecretGone Stage = "secretGone" // the Secret is deleted
	Revoked    Stage = "revoked"    // the grant's status.revocation is stored
	Ended      Stage = "ended"      // the grant's status.endedAt is stored
	Closed     Stage = "closed"     // the request's status.endedAt is stored
	GrantGone  Stage = "grantGone"  // the grant is deleted
	Gone       Stage = "gone"       // the request is deleted
	JobGone    Stage = "jobGone"    // the Job is deleted
	PodGone    Stage = "podGone"    // the Pod is deleted
)

// Timeline keeps when each stage of each request was first seen. It is safe for concurrent use.
type Timeline struct {
	mu      sync.Mutex
	changed *sync.Cond
	times   map[string]map[Stage]time.Time
	digests map[string]string
	pods    map[string]string
}

// New makes an empty timeline.
func New() *Timeline {
	t := &Timeline{times: map[string]map[Stage]time.Time{}, digests: map[string]string{}, pods: map[string]string{}}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// Mark records that a request came to a stage at a time, unless that is known already.
func (t *Timeline) Mark(name string, s Stage, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(name, s, at)
	t.changed.Broadcast()
}

func (t *Timeline) put(name string, s Stage, at time.Time) {
	stages := t.times[name]
	if stages == nil {
		stages = map[Stage]time.Time{}
		t.times[name] = stages
	}
	if _, seen := stages[s]; !seen {
		stages[s] = at
	}
}

// At is when a request came to a stage; false if it has not.
func (t *Timeline) At(name string, s Stage) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, seen := t.times[name][s]
	return at, seen
}

// Digest is that of a request's review.
func (t *Timeline) Digest(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.digests[name]
}

// Pod is the name of a request's Pod, once there is one.
func (t *Timeline) Pod(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pods[name]
}

// Wait returns when all have come to a stage, or when the timeout is over. It returns how many have not.
func (t *Timeline) Wait(ctx context.Context, timeout time.Duration, s Stage, names ...string) (missing int) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.changed.Broadcast()
	})()
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.Clone(names)
	for {
		for len(left) > 0 && !t.times[left[len(left)-1]][s].IsZero() {
			left = left[:len(left)-1]
		}
		if len(left) == 0 || ctx.Err() != nil {
			left = slices.DeleteFunc(left, func(name string) bool { return !t.times[name][s].IsZero() })
			return len(left)
		}
		t.changed.Wait()
	}
}

// Between are the times that requests took from one stage to another, of those that came to both.
func (t *Timeline) Between(names []string, from, until Stage) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []time.Duration
	for _, name := range names {
		if begin, end := t.times[name][from], t.times[name][until]; !begin.IsZero() && !end.IsZero() {
			list = append(list, end.Sub(begin))
		}
	}
	return list
}

// After are the times from one moment until requests came to a stage, of those that did.
func (t *Timeline) After(begin time.Time, names []string, s Stage) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []time.Duration
	for _, name := range names {
		if at := t.times[name][s]; !at.IsZero() {
			list = append(list, at.Sub(begin))
		}
	}
	return list
}

// First is when the first of the requests came to a stage; the zero time if none did.
func (t *Timeline) First(names []string, s Stage) (first time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if at := t.times[name][s]; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Last is when the last of the requests came to a stage; the zero time if none did.
func (t *Timeline) Last(names []string, s Stage) (last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if at := t.times[name][s]; at.After(last) {
			last = at
		}
	}
	return last
}
