// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
)

// held is an API server in which somebody holds one anchor.
type held struct {
	Identities
	anchor string
	asked  []string
}

func (h *held) Unbind(_ context.Context, anchors ...string) error {
	h.asked = append(h.asked, anchors...)
	if anchors[0] == h.anchor {
		return &provider.Error{Class: provider.Retryable, Message: "somebody keeps it there"}
	}
	return nil
}

func (*held) Accepted(context.Context, identity.Token) (bool, error) { return false, nil }

// TestRevoke_AnAnchorThatStaysKeepsNoOther token working.
func TestRevoke_AnAnchorThatStaysKeepsNoOther(t *testing.T) {
	l := provider.Lease{ID: "5e8f1a3c-1111-4222-8333-444455556666", Attempt: 3, Capability: capability()}
	issued := l.Issued("", time.Time{})
	h := &held{anchor: anchor(issued.Sessions()[0])}
	if _, err := New(Options{Identities: h}).Revoke(t.Context(), issued); !provider.IsRetryable(err) {
		t.Errorf("it is said to be ended: %v", err)
	}
	if len(h.asked) != len(issued.Sessions()) {
		t.Errorf("asked to end %v of %v", h.asked, issued.Sessions())
	}
}
