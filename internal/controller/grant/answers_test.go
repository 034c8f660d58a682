// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"strings"
	"testing"

	"k8s.io/client-go/tools/events"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	providerfake "github.com/valetkey/valetkey/internal/provider/fake"
)

// leaving is a back end that confirms the end, and leaves something behind.
type leaving struct {
	*providerfake.Provider
	left string
}

func (l leaving) Revoke(ctx context.Context, issued provider.Issued) (provider.Revoked, error) {
	revoked, err := l.Provider.Revoke(ctx, issued)
	revoked.Left = l.left
	return revoked, err
}

// TestRevoke_WhatIsLeftBesideIsTold: it takes nothing from the confirmation, and is not lost.
func TestRevoke_WhatIsLeftBesideIsTold(t *testing.T) {
	e := newEnv(t)
	const left = "IAM refused iam:DeleteRolePolicy to the revoker role: status 403"
	e.grants.Observer.Providers = provider.NewSet(leaving{e.backend, left})
	e.delivered()
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.over()
	if r := e.grant().Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil {
		t.Errorf("revocation %+v", r)
	}
	told := e.grants.Events.(*events.FakeRecorder).Events
	for range len(told) {
		if event := <-told; strings.Contains(event, left) {
			return
		}
	}
	t.Error("no event says what is left")
}
