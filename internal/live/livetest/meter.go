// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package livetest

import (
	"context"
	"runtime"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Meter is a reader that counts how many bytes are in use each time that something was read, beyond those of its beginning.
type Meter struct {
	client.Reader
	mu           sync.Mutex
	before, most uint64
}

// NewMeter begins to count.
func NewMeter(of client.Reader) *Meter { return &Meter{Reader: of, before: inUse()} }

// Get implements client.Reader.
func (m *Meter) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	err := m.Reader.Get(ctx, key, object, opts...)
	m.count()
	runtime.KeepAlive(object)
	return err
}

// List implements client.Reader.
func (m *Meter) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := m.Reader.List(ctx, list, opts...)
	m.count()
	runtime.KeepAlive(list)
	return err
}

func (m *Meter) count() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := inUse(); now > m.before {
		m.most = max(m.most, now-m.before)
	}
}

// MiB is the most that was in use, in MiB.
func (m *Meter) MiB() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most >> 20
}

// inUse is how many bytes are reachable.
func inUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
