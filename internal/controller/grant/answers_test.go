// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
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

// answering is a back end whose answer a test makes, and that remembers what it was told to revoke.
type answering struct {
	*providerfake.Provider
	answer func() (*provider.Credential, error)
	told   *[]provider.Issued
}

func (a answering) Issue(context.Context, provider.Lease) (*provider.Credential, error) {
	return a.answer()
}

func (a answering) Revoke(ctx context.Context, issued provider.Issued) (provider.Revoked, error) {
	*a.told = append(*a.told, issued)
	return a.Provider.Revoke(ctx, issued)
}

// answered is a grant whose back end answers so; until is when what it answers works no more, in the longest case.
func answered(t *testing.T, mode v1alpha1.RevocationMode, answer func(e *env, until time.Time) (*provider.Credential, error)) (
	e *env, until time.Time, told *[]provider.Issued) {
	t.Helper()
	e, told = newEnv(t), &[]provider.Issued{}
	until = e.clock.Now().Add(365 * 24 * time.Hour)
	e.backend = providerfake.New(e.clock, 15*time.Minute, mode)
	e.grants.Observer.Providers = provider.NewSet(answering{e.backend,
		func() (*provider.Credential, error) { return answer(e, until) }, told})
	return e, until, told
}

// issuedUntil is a credential that works so long.
func issuedUntil(_ *env, until time.Time) (*provider.Credential, error) {
	return provider.NewCredential(provider.CredentialFields{ID: "ASIALATE", Principal: "late", ExpiresAt: until,
		Secrets: []string{"a secret of the answer"}, Files: map[string]string{"fake/credential": "a secret of the answer"}})
}

func unusable(works provider.Works) error {
	return provider.Mismatched(provider.Final, works, "STS answered with another role; it is not used")
}

// onRecord are the records of one event.
func (e *env) onRecord(event audit.Event) (all []audit.Record) {
	for _, r := range e.audit.records {
		if r.Event == event {
			all = append(all, r)
		}
	}
	return all
}

// expectExposed sees that status and audit log say until when what nobody was given works.
func (e *env) expectExposed(until time.Time, told []provider.Issued) {
	e.Helper()
	s := e.grant().Status
	if s.EndedAt == nil || s.Revocation == nil || s.CredentialExpiresAt == nil || !s.CredentialExpiresAt.Time.Equal(until) {
		e.Fatalf("ended %v, revocation %+v, expires %v, want %v", s.EndedAt, s.Revocation, s.CredentialExpiresAt, until)
	}
	if len(told) == 0 || !told[0].Until.Equal(until) {
		e.Errorf("the back end was told to end %+v", told)
	}
	if s.Exposed[0].Mismatched && (s.Revocation.Mode != v1alpha1.RevocationAtExpiry || e.grant().Working(until.Add(-time.Second)) != 1) {
		e.Errorf("it was answered with something else than was asked for, and the grant says %+v", s.Revocation)
	}
	if s.Revocation.Mode != v1alpha1.RevocationAtExpiry {
		return
	}
	if got := s.Revocation.ExposedUntil; got == nil || !got.Time.Equal(until) {
		e.Errorf("exposed until %v, want %v", got, until)
	}
	at := metav1.NewTime(until)
	for _, event := range []audit.Event{audit.EventRevoked, audit.EventEnded} {
		all := e.onRecord(event)
		if len(all) == 0 {
			e.Errorf("%s is not on record", event)
		}
		for _, r := range all {
			if r.ExposedUntil != auditTime(&at) {
				e.Errorf("%s is on record with %q, want %s", event, r.ExposedUntil, auditTime(&at))
			}
		}
	}
}

// TestAnswer_UntilWhenItWorksIsKept: of an answer that is not used, status and audit log say how long it works, and
// whoever ends it is told.
func TestAnswer_UntilWhenItWorksIsKept(t *testing.T) {
	revoke := func(e *env) { e.annotate(v1alpha1.AnnotationRevoke, "now") }
	stopped := func(e *env) {
		revoke(e)
		for range 3 {
			_, err := e.grants.Reconcile(e.Context(), ctrl.Request{NamespacedName: key()})
			e.must(err)
		}
		if e.grant().Status.Stop == nil {
			e.Error("it was not being ended yet")
		}
	}
	for name, test := range map[string]struct {
		// meanwhile happens while the back end is asked.
		meanwhile func(e *env)
		answer    func(e *env, until time.Time) (*provider.Credential, error)
		// id is what the audit log calls it.
		id string
	}{
		"it is not what was asked for": {answer: func(_ *env, until time.Time) (*provider.Credential, error) {
			return nil, unusable(provider.WorksUntil(until))
		}},
		"it is not what was asked for, of a grant that is being ended": {meanwhile: stopped, answer: func(_ *env, until time.Time) (*provider.Credential, error) {
			return nil, unusable(provider.WorksUntil(until))
		}},
		"it comes when the grant is being ended": {meanwhile: stopped, answer: issuedUntil, id: "ASIALATE"},
		"it comes with the revocation":           {meanwhile: revoke, answer: issuedUntil, id: "ASIALATE"},
		"it comes with the revocation, and no status can be stored": {meanwhile: func(e *env) {
			revoke(e)
			e.statusRefused = errors.New("somebody's rule says no")
		}, answer: issuedUntil, id: "ASIALATE"},
		"it comes when the grant is being ended, and no status can be stored": {meanwhile: func(e *env) {
			stopped(e)
			e.statusRefused = errors.New("somebody's rule says no")
		}, answer: issuedUntil, id: "ASIALATE"},
	} {
		for _, mode := range []v1alpha1.RevocationMode{v1alpha1.RevocationAtExpiry, v1alpha1.RevocationImmediate} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				asked, answers := make(chan struct{}), make(chan struct{})
				e, until, told := answered(t, mode, func(e *env, until time.Time) (*provider.Credential, error) {
					close(asked)
					<-answers
					return test.answer(e, until)
				})
				_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
				e.must(err)
				<-asked
				if test.meanwhile != nil {
					test.meanwhile(e)
				}
				close(answers)
				<-e.grants.Answered
				for range 3 {
					_, _ = e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
				}
				if len(*told) == 0 {
					t.Fatal("the back end was not told to end it")
				}
				e.statusRefused = nil
				e.over()
				e.expectExposed(until, *told)
				e.grants = e.controller() // another process knows what is stored
				e.over()
				e.expectExposed(until, *told)
				if all := e.onRecord(audit.EventIssued); test.id != "" && (len(all) != 1 || all[0].CredentialID != test.id) {
					t.Errorf("issued on record: %+v", all)
				}
				if c := e.grant().Status.Credential; test.id != "" && (c == nil || c.ID != test.id) {
					t.Errorf("the status names %+v", c)
				}
				if c := e.issuedCondition(); test.id != "" && !strings.Contains(c.Message, "issued as late, and given to nobody") {
					t.Errorf("it says: %s", c.Message)
				}
			})
		}
	}
}

// TestAnswer_ThatSaysNoEndIsSaidToBeUnknown: nobody guesses in the status.
func TestAnswer_ThatSaysNoEndIsSaidToBeUnknown(t *testing.T) {
	e, _, told := answered(t, v1alpha1.RevocationAtExpiry, func(*env, time.Time) (*provider.Credential, error) {
		return nil, unusable(provider.WorksUntil(time.Time{}))
	})
	e.reconcile()
	e.over()
	s := e.grant().Status
	if s.EndedAt == nil || s.Revocation == nil || s.Revocation.Mode != v1alpha1.RevocationAtExpiry || s.Revocation.ExposedUntil != nil {
		t.Errorf("ended %v, revocation %+v", s.EndedAt, s.Revocation)
	}
	if len(s.Exposed) != 1 || !s.Exposed[0].Unknown || !s.Exposed[0].Until.After(e.clock.Now().Add(-time.Hour)) {
		t.Errorf("exposed: %+v", s.Exposed)
	}
	if len(*told) == 0 || !(*told)[0].Unknown {
		t.Errorf("the back end was told to end %+v", *told)
	}
	if all := e.onRecord(audit.EventRevoked); len(all) != 1 || all[0].ExposedUntil != "" {
		t.Errorf("revoked on record: %+v", all)
	}
}

// TestRevoke_WhatIsAnsweredOtherwiseOnTheWayCounts: a session with which the grant is ended is not the one that was asked
// for, and works.
func TestRevoke_WhatIsAnsweredOtherwiseOnTheWayCounts(t *testing.T) {
	e, until, _ := answered(t, v1alpha1.RevocationImmediate, func(e *env, _ time.Time) (*provider.Credential, error) {
		return issuedUntil(e, e.clock.Now().Add(time.Hour))
	})
	e.reconcile()
	e.backend.NextErr(provider.Again("the revoker role: ", unusable(provider.WorksUntil(until))))
	e.annotate(v1alpha1.AnnotationRevoke, "now")
	e.over()
	s := e.grant().Status
	if s.Revocation == nil || s.Revocation.Mode != v1alpha1.RevocationAtExpiry || !s.Revocation.ExposedUntil.Time.Equal(until) {
		t.Errorf("revocation %+v", s.Revocation)
	}
	if got := e.grant().Working(until.Add(-time.Second)); got != 1 {
		t.Errorf("%d of it count", got)
	}
}

// TestRevoke_WhatIsAnsweredOtherwiseAfterTheEndCounts, and so does what says nothing of how long it works.
func TestRevoke_WhatIsAnsweredOtherwiseAfterTheEndCounts(t *testing.T) {
	for name, works := range map[string]provider.Works{"until an instant": {Until: time.Date(2026, 3, 4, 18, 0, 0, 0, time.UTC)}, "nobody knows until when": {}} {
		t.Run(name, func(t *testing.T) {
			e, _, _ := answered(t, v1alpha1.RevocationImmediate, func(e *env, _ time.Time) (*provider.Credential, error) {
				return issuedUntil(e, e.clock.Now().Add(time.Hour))
			})
			e.reconcile()
			e.annotate(v1alpha1.AnnotationRevoke, "now")
			e.over()
			e.jobControllerSays(batchv1.JobSuspended)
			e.over()
			if s := e.grant().Status; s.EndedAt == nil || s.Revocation.Mode != v1alpha1.RevocationImmediate {
				t.Fatalf("it ended so: %+v", s)
			}
			e.backend.NextErr(provider.Again("the revoker role: ", unusable(provider.WorksUntil(works.Until))))
			e.clock.Step(2 * time.Hour) // it is asked once more when the credential has expired
			e.over()
			s := e.grant().Status
			if s.Revocation.Mode != v1alpha1.RevocationAtExpiry || s.Revocation.ConfirmedAt != nil || (s.Revocation.ExposedUntil == nil) != works.Until.IsZero() {
				t.Errorf("revocation %+v of %+v", s.Revocation, s.Exposed)
			}
		})
	}
}

// TestRevoke_WhatIsAnsweredOtherwiseCountsThoughNothingWasIssued to the last attempt.
func TestRevoke_WhatIsAnsweredOtherwiseCountsThoughNothingWasIssued(t *testing.T) {
	asked := 0
	e, _, _ := answered(t, v1alpha1.RevocationImmediate, func(*env, time.Time) (*provider.Credential, error) {
		if asked++; asked == 1 {
			return nil, provider.Unanswered(provider.Retryable, "no answer came")
		}
		return nil, provider.Refused(provider.Retryable, true, "not now")
	})
	for e.grant().Status.Attempt < 2 || asked < 2 {
		e.clock.Step(time.Minute)
		e.reconcile()
	}
	e.reconcile()
	if s := e.grant().Status; len(s.Exposed) != 1 || s.Exposed[0].Attempt != 1 || s.Attempt != 2 {
		t.Fatalf("before it is revoked: attempt %d, %+v", s.Attempt, s.Exposed)
	}
	e.backend.NextErr(provider.Again("the revoker role: ", unusable(provider.Works{Unknown: true})))
	e.annotate(v1alpha1.AnnotationRevoke, "now")
	e.over()
	if s := e.grant().Status; s.Revocation == nil || s.Revocation.Mode != v1alpha1.RevocationAtExpiry || s.Revocation.ExposedUntil != nil {
		t.Errorf("revocation %+v of %+v", s.Revocation, s.Exposed)
	}
}

// TestRevoke_WhatIsAnsweredOtherwiseIsSaidLater, where it cannot be stored at once: while nobody lets the grant stop, or after its end.
func TestRevoke_WhatIsAnsweredOtherwiseIsSaidLater(t *testing.T) {
	for name, ended := range map[string]bool{"while it cannot stop": false, "after its end": true} {
		t.Run(name, func(t *testing.T) {
			e, until, _ := answered(t, v1alpha1.RevocationImmediate, func(e *env, _ time.Time) (*provider.Credential, error) {
				return issuedUntil(e, e.clock.Now().Add(time.Hour))
			})
			e.reconcile()
			end := func() {
				e.annotate(v1alpha1.AnnotationRevoke, "now")
				e.over()
				e.jobControllerSays(batchv1.JobSuspended)
				e.over()
			}
			if ended {
				end()
				e.clock.Step(2 * time.Hour) // it is asked once more when the credential has expired
			}
			e.statusRefused = apierrors.NewInternalError(errors.New("not now"))
			e.backend.NextErr(provider.Again("the revoker role: ", unusable(provider.WorksUntil(until))))
			if ended {
				e.over()
			} else {
				e.annotate(v1alpha1.AnnotationRevoke, "now")
				e.over()
			}
			e.statusRefused = nil
			e.clock.Step(10 * time.Minute)
			if e.over(); !ended {
				e.jobControllerSays(batchv1.JobSuspended)
			}
			e.over()
			if s := e.grant().Status; s.EndedAt == nil || s.Revocation.Mode != v1alpha1.RevocationAtExpiry {
				t.Errorf("revocation %+v of %+v, ended at %v", s.Revocation, s.Exposed, s.EndedAt)
			}
		})
	}
}

// unforeseen is a back end of which nobody knows how long what it issues works, before it is there.
type unforeseen struct{ answering }

func (u unforeseen) Lifetime(l provider.Lease) (time.Duration, bool) {
	most, _ := u.Provider.Lifetime(l)
	return most, false
}

// TestAnswer_ThatNeverCameIsUnknownWhereNobodyForesawItsEnd: a crash between question and answer leaves what was stored
// before, and a credential that comes says its own end.
func TestAnswer_ThatNeverCameIsUnknownWhereNobodyForesawItsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		answer  func(e *env, until time.Time) (*provider.Credential, error)
		unknown bool
	}{
		"it was lost": {func(*env, time.Time) (*provider.Credential, error) {
			return nil, provider.Unanswered(provider.Final, "the back end did not answer")
		}, true},
		"it came": {issuedUntil, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked, answers := make(chan struct{}), make(chan struct{})
			e, _, told := answered(t, v1alpha1.RevocationAtExpiry, nil)
			e.grants.Observer.Providers = provider.NewSet(unforeseen{answering{e.backend, func() (*provider.Credential, error) {
				close(asked)
				<-answers
				return test.answer(e, e.clock.Now().Add(time.Hour))
			}, told}})
			_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
			e.must(err)
			<-asked
			if all := e.grant().Status.Exposed; len(all) != 1 || !all[0].Unknown {
				t.Errorf("while it is asked: %+v", all)
			}
			close(answers)
			<-e.grants.Answered
			e.reconcile()
			if all := e.grant().Status.Exposed; len(all) != 1 || all[0].Unknown != test.unknown {
				t.Errorf("afterwards: %+v", all)
			}
		})
	}
}

// TestAnswer_ThatIsDeliveredSaysItsOwnEnd, and not that of an earlier attempt, which works on.
func TestAnswer_ThatIsDeliveredSaysItsOwnEnd(t *testing.T) {
	asked := 0
	e, until, _ := answered(t, v1alpha1.RevocationAtExpiry, func(e *env, until time.Time) (*provider.Credential, error) {
		if asked++; asked == 1 {
			return nil, provider.Mismatched(provider.Retryable, provider.WorksUntil(until), "not used")
		}
		return issuedUntil(e, e.clock.Now().Add(time.Hour))
	})
	e.reconcile()
	e.clock.Step(5 * time.Second)
	own := e.clock.Now().Add(time.Hour)
	e.reconcile()
	if c := e.issuedCondition(); !strings.HasSuffix(c.Message, "works until "+own.UTC().Format(time.RFC3339)) {
		t.Errorf("it says: %s", c.Message)
	}
	if s := e.grant().Status; s.CredentialExpiresAt == nil || !s.CredentialExpiresAt.Time.Equal(until) {
		t.Errorf("the grant's last end is %v, want %s", s.CredentialExpiresAt, until)
	}
}

// TestAnswer_ThatCannotBeStoredKeepsNobodyFromEndingTheGrant: whatever the API server has against it.
func TestAnswer_ThatCannotBeStoredKeepsNobodyFromEndingTheGrant(t *testing.T) {
	for name, answer := range map[string]func(*env, time.Time) (*provider.Credential, error){
		"a failure that leaves something": func(_ *env, until time.Time) (*provider.Credential, error) {
			return nil, provider.Mismatched(provider.Retryable, provider.WorksUntil(until), "the answer broke off")
		},
		"a final one": func(_ *env, until time.Time) (*provider.Credential, error) {
			return nil, unusable(provider.WorksUntil(until))
		},
	} {
		for why, end := range map[string]func(*env){
			"revoked": func(e *env) { e.annotate(v1alpha1.AnnotationRevoke, "now") },
			"deleted": func(e *env) { e.must(e.client.Delete(e.Context(), e.grant())) },
		} {
			t.Run(name+", "+why, func(t *testing.T) {
				e, _, told := answered(t, v1alpha1.RevocationImmediate, answer)
				_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
				e.must(err)
				<-e.grants.Answered
				e.statusRefused = errors.New("status.exposed[0].until: Invalid value")
				end(e)
				for range 5 {
					_, _ = e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
				}
				if len(*told) == 0 || !suspended(e.job()) {
					t.Errorf("the back end was told %d times, the Job is stopped: %t", len(*told), suspended(e.job()))
				}
				if n := len(e.onRecord(audit.EventIssueFailed)); n != 1 {
					t.Errorf("the failure is on record %d times", n)
				}
				e.statusRefused = nil
				e.reconcile()
				g := &v1alpha1.CapabilityGrant{}
				if err := e.client.Get(t.Context(), key(), g); why == "deleted" && apierrors.IsNotFound(err) {
					return // it has ended, and was let go
				}
				if g.Status.Stop == nil || g.Status.EndedAt == nil {
					t.Errorf("once it can be stored, it says %+v", g.Status)
				}
			})
		}
	}
}
