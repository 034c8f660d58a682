// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_WhatIsAskedForLateCountsUntilItsEnd: an attempt is stored with the latest end of what may be issued for it, and something keeps
// it for an hour before the back end is asked.
func TestIssue_WhatIsAskedForLateCountsUntilItsEnd(t *testing.T) {
	for name, keep := range map[string]func(e *env, kept *bool){
		"the dry run of the Pod is not answered": func(e *env, kept *bool) {
			e.funcs.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if _, ok := o.(*corev1.Pod); ok && *kept {
					return errors.New("somebody's webhook is down")
				}
				return c.Create(ctx, o, opts...)
			}
		},
		"the audit log cannot be written": func(e *env, kept *bool) {
			e.audit.before = func(event audit.Event) error {
				if event == audit.EventIssuing && *kept {
					return errors.New("no space left on device")
				}
				return nil
			}
		},
		"the audit log is written late": func(e *env, kept *bool) {
			e.audit.before = func(event audit.Event) error {
				if event == audit.EventIssuing && *kept {
					*kept = false
					e.clock.Step(time.Hour)
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, kept, asked := newEnv(t), true, false
			e.grants.Observer.Providers = provider.NewSet(answering{Provider: e.backend, answer: func() (*provider.Credential, error) {
				asked = true
				return nil, provider.Unanswered(provider.Retryable, "a gateway answered")
			}})
			keep(e, &kept)
			_, _ = e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
			if asked {
				t.Fatal("the back end is asked")
			}
			if kept {
				e.clock.Step(time.Hour)
				kept = false
			}
			e.reconcile()
			until := e.grant().Status.CredentialExpiresAt
			if !asked || until == nil || until.Time.Before(e.clock.Now().Add(15*time.Minute)) {
				t.Errorf("asked: %t, at %s; what is issued then counts until %s", asked, e.clock.Now(), until)
			}
		})
	}
}
