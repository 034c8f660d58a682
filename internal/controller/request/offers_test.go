// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// kept is how long a free slot is kept for a namespace.
const kept = 2 * time.Second

// beginBusy has first work under a limit, and requests wait: those of the namespace crowd, which were made earlier, and
// then second. The requests of crowd are not looked at any more.
func beginBusy(t *testing.T, mode v1alpha1.RevocationMode, crowd ...string) (*controllertest.Env, *controllertest.Operator) {
	t.Helper()
	e, o := begin(t, mode, 1)
	e.Namespace("crowd")
	ask(o, "first")
	for _, name := range crowd {
		e.AskIn("crowd", name)
		o.Advance(time.Second)
	}
	ask(o, "second")
	expectWaits(e, "second", fmt.Sprintf("1 does; requests that were made earlier and come first: %d", len(crowd)))
	o.Busy("crowd", true)
	return e, o
}

func inCrowd(e *controllertest.Env, name string) *v1alpha1.CapabilityRequest {
	e.Helper()
	r := &v1alpha1.CapabilityRequest{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Namespace: "crowd", Name: name}, r))
	return r
}

func TestLimits_BusyNamespaceKeepsNoFreeSlotFromOthers(t *testing.T) {
	e, o := beginBusy(t, v1alpha1.RevocationImmediate, "crowd-1", "crowd-2")
	e.Withdraw("first")
	o.Advance(kept - time.Millisecond)
	expectGranted(e)
	o.Advance(time.Millisecond)
	expectGranted(e, "second")
	o.Busy("crowd", false)
	ask(o, "third")
	expectGranted(e, "second")
	expectWaits(e, "third", "1 does; requests that were made earlier and come first: 2")
	if c := allowed(inCrowd(e, "crowd-1")); c.Reason != v1alpha1.ReasonLimitReached || strings.Contains(c.Message, "earlier") {
		t.Errorf("crowd-1 has not kept its place: %s: %s", c.Reason, c.Message)
	}
	e.Finish("second")
	o.Run()
	expectGranted(e, "crowd-1", "second")
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_BusyNamespaceKeepsNoSlotThatExpiredFromOthers(t *testing.T) {
	e, o := beginBusy(t, v1alpha1.RevocationAtExpiry, "crowd-1")
	e.Withdraw("first")
	o.Advance(session - 3*time.Second + kept - time.Millisecond)
	expectGranted(e)
	o.Advance(time.Millisecond)
	expectGranted(e, "second")
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_BusyNamespaceKeepsNoFreeSlotByWithdrawing(t *testing.T) {
	names := []string{"crowd-1", "crowd-2", "crowd-3", "crowd-4", "crowd-5"}
	e, o := beginBusy(t, v1alpha1.RevocationImmediate, names...)
	e.Withdraw("first")
	o.Run()
	for _, name := range names[:4] {
		o.Advance(kept / 4)
		e.Must(e.Client.Delete(e.Context(), inCrowd(e, name)))
	}
	o.Run()
	expectGranted(e, "second")
}

func TestLimits_BusyNamespaceKeepsNoFreeSlotOverARestart(t *testing.T) {
	e, first := beginBusy(t, v1alpha1.RevocationImmediate, "crowd-1")
	e.Withdraw("first")
	first.Advance(kept - time.Millisecond)
	first.Kill()
	second := e.Start()
	second.Busy("crowd", true)
	second.Advance(kept - time.Millisecond)
	expectGranted(e)
	second.Advance(time.Millisecond)
	expectGranted(e, "second")
	second.Busy("crowd", false)
	second.Run()
	expectGranted(e, "second")
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}
