// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"testing"

	"github.com/valetkey/valetkey/internal/guard"
)

// counted is a guard that counts how often it is asked.
type counted struct {
	asked int
	fails error
}

func (c *counted) Check(context.Context) (guard.Status, error) {
	c.asked++
	return guard.Status{}, c.fails
}

func (*counted) Probe(context.Context) (string, error) { return "", nil }

// TestGuard_IsAskedOnceForEachChange, and again where it could not say.
func TestGuard_IsAskedOnceForEachChange(t *testing.T) {
	g := &counted{fails: errors.New("away")}
	o := &Observer{Guard: g}
	look := func(want int, fails bool) {
		t.Helper()
		if _, err := o.guardStatus(t.Context()); (err != nil) != fails || g.asked != want {
			t.Errorf("it was asked %d times; want %d; %v", g.asked, want, err)
		}
	}
	look(1, true)
	g.fails = nil
	look(2, false)
	look(2, false)
	o.World.Changed("agents")
	look(2, false)
	o.World.Changed("")
	look(3, false)
	look(3, false)
}
