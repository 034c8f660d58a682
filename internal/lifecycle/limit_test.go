// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// limited is a grant of a policy that lets so many credentials work, beside its peers.
func limited(active int32, peers ...*v1alpha1.CapabilityGrant) change {
	return func(f *Facts) {
		f.Grant.Spec.Approval.Policy = "one"
		f.Limit = LimitFacts{Active: &active, Peers: append(peers, f.Grant), Current: true}
	}
}

// peer is another grant of the policy, created so long before.
func peer(name string, age time.Duration, changes ...func(*v1alpha1.CapabilityGrant)) *v1alpha1.CapabilityGrant {
	g := &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-age))},
	}
	for _, c := range changes {
		c(g)
	}
	return g
}

// works is a peer that has begun an attempt.
func works(g *v1alpha1.CapabilityGrant) {
	g.Status.Attempt = 1
	Expose(&g.Status, v1alpha1.AttemptExposure{Attempt: 1, Until: metav1.NewTime(now.Add(lifetime))})
}

func claimed(f *Facts) {
	began(1)(f)
	f.Attempt.BeganAt = now
	works(f.Grant)
}

func created(age time.Duration) change {
	return func(f *Facts) { f.Grant.CreationTimestamp = metav1.NewTime(now.Add(-age)) }
}

func TestLimit_NextStep(t *testing.T) {
	behind := func(f *Facts) { f.Limit.Current = false }
	cases := map[string]struct {
		facts  Facts
		want   Step
		reason string
	}{
		"there is room to begin": {
			facts: stored(limited(2, peer("b", 0, works))),
			want:  BeginAttempt,
		},
		"there is no room to begin": {
			facts:  stored(limited(1, peer("b", 0, works))),
			want:   Wait,
			reason: v1alpha1.ReasonLimitReached,
		},
		"another comes first": {
			facts:  stored(created(time.Minute), limited(1, peer("b", time.Hour))),
			want:   Wait,
			reason: v1alpha1.ReasonLimitReached,
		},
		"another comes later": {
			facts: stored(created(time.Hour), limited(1, peer("b", time.Minute))),
			want:  BeginAttempt,
		},
		"one of the same second comes first by its UID": {
			facts:  stored(created(0), limited(1, peer("a", 0))),
			want:   Wait,
			reason: v1alpha1.ReasonLimitReached,
		},
		"one of the same second comes later by its UID": {
			facts: stored(created(0), limited(1, peer("z", 0))),
			want:  BeginAttempt,
		},
		"one that is being ended does not come first": {
			facts: stored(
				limited(1, peer("a", time.Hour, func(g *v1alpha1.CapabilityGrant) { g.Status.Stop = &v1alpha1.GrantStop{} })),
			),
			want: BeginAttempt,
		},
		"what this process cannot see yet is waited for": {
			facts:  stored(claimed, limited(1), behind),
			want:   Wait,
			reason: v1alpha1.ReasonIssuing,
		},
		"without a limit nothing is waited for": {facts: stored(claimed, behind), want: Mint},
		"a claim within the limit is minted": {
			facts: stored(claimed, limited(2, peer("b", 0, works))),
			want:  Mint,
		},
		"a claim that is one too many is withdrawn": {
			facts: stored(claimed, limited(1, peer("b", 0, works))),
			want:  Withdraw,
		},
		"it is also where the other one was created later": {
			facts: stored(claimed, created(time.Hour), limited(1, peer("b", 0, works))),
			want:  Withdraw,
		},
		"a claim that is too old is withdrawn": {
			facts: stored(claimed, limited(2), func(f *Facts) { f.Attempt.BeganAt = now.Add(-AskWithin - time.Second) }),
			want:  Withdraw,
		},
		"one that was minted is not withdrawn": {
			facts: stored(claimed, limited(1, peer("b", 0, works)), func(f *Facts) { f.Attempt.Minted = true }),
			want:  StoreSecret,
		},
		"an earlier attempt of its own takes up room": {
			facts:  stored(func(f *Facts) { works(f.Grant) }, limited(1)),
			want:   Wait,
			reason: v1alpha1.ReasonLimitReached,
		},
		"and where there is room for both, it begins another": {
			facts: stored(func(f *Facts) { works(f.Grant) }, limited(2)),
			want:  BeginAttempt,
		},
		"the end does not wait for the limit": {
			facts: stored(claimed, limited(1, peer("b", 0, works)), func(f *Facts) { f.Request.Exists = false }),
			want:  Stop,
		},
		"the last state of a peer counts, not an older one": {facts: stored(claimed, func(f *Facts) {
			old := f.Grant.DeepCopy()
			works(old)
			Expose(&old.Status, v1alpha1.AttemptExposure{Attempt: 2, Until: metav1.NewTime(now.Add(lifetime))})
			f.Limit = LimitFacts{Active: ptr.To[int32](1), Peers: []*v1alpha1.CapabilityGrant{old}, Current: true}
		}), want: Mint},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := Next(c.facts, now)
			if got.Step != c.want || got.Reason != c.reason {
				t.Errorf("%s (%s: %s); want %s (%s)", got.Step, got.Reason, got.Message, c.want, c.reason)
			}
			if got.Step == Wait && !got.Until.After(now) {
				t.Errorf("it waits until %s", got.Until)
			}
		})
	}
}

func TestLimit_DeletedGrantStays(t *testing.T) {
	ended := func(revocation v1alpha1.Revocation) change {
		return func(f *Facts) {
			works(f.Grant)
			deleting(f)
			finished(f)
			f.Grant.Status.Revocation, f.Attempt.SweptAt = &revocation, now
		}
	}
	lingers := metav1.NewTime(now.Add(10 * time.Second))
	atExpiry := v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}
	answered := func(f *Facts) { Answered(&f.Grant.Status, 1) }
	cases := map[string]struct {
		facts Facts
		// until is how long it stays; zero if it goes at once.
		until time.Duration
	}{
		"its credential works until it expires": {stored(ended(atExpiry), limited(1)), lifetime},
		"it would, but the policy has no limit": {stored(ended(atExpiry)), 0},
		"its credential was revoked": {
			stored(ended(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate}), answered, limited(1)),
			0,
		},
		"it was revoked, and lingers": {
			stored(ended(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ExposedUntil: &lingers}), answered, limited(1)),
			10 * time.Second,
		},
		"an answer of the back end may still be on its way": {
			stored(ended(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate}), limited(1)),
			lifetime,
		},
		"nothing was issued": {
			stored(ended(v1alpha1.Revocation{Mode: v1alpha1.RevocationNone}), limited(1)),
			0,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := Next(c.facts, now)
			if c.until == 0 {
				if got.Step != Release {
					t.Errorf("%s until %s", got.Step, got.Until)
				}
				return
			}
			if got.Step != Wait || !got.Until.Equal(now.Add(c.until)) ||
				!strings.Contains(got.Message, "it is kept until "+got.Until.UTC().Format(time.RFC3339)) {
				t.Errorf("%s until %s: %s; want %s", got.Step, got.Until, got.Message, now.Add(c.until))
			}
			if late := Next(c.facts, got.Until); late.Step != Release {
				t.Errorf("then %s until %s", late.Step, late.Until)
			}
		})
	}
}

func TestExposure_OfSeveralAttempts(t *testing.T) {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(d)) }
	g := peer("a", 0)
	s := &g.Status
	counts := func(want ...int) {
		t.Helper()
		var got []int
		for _, d := range []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute} {
			got = append(got, g.Counts(now.Add(d)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("it counts %v; want %v", got, want)
		}
	}
	counts(1, 1, 1, 1)
	Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: at(time.Minute)})
	counts(1, 1, 1, 1)
	Expose(s, v1alpha1.AttemptExposure{Attempt: 2, Until: at(2*time.Minute - time.Millisecond)})
	counts(2, 1, 1, 1)
	if !s.CredentialExpiresAt.Equal(ptr.To(at(2 * time.Minute))) {
		t.Errorf("the last of them works until %s: an instant is rounded up", s.CredentialExpiresAt)
	}
	Expose(s, v1alpha1.AttemptExposure{Attempt: 2, Until: at(3 * time.Minute), Answered: true})
	counts(2, 1, 1, 1)
	finish := func(r v1alpha1.Revocation) { s.EndedAt, s.Revocation = ptr.To(at(0)), &r }
	finish(v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry})
	counts(2, 1, 1, 0)
	finish(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate})
	counts(1, 0, 0, 0) // the first attempt was never answered
	Answered(s, 1)
	counts(0, 0, 0, 0)
	finish(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ExposedUntil: ptr.To(at(90 * time.Second))})
	counts(2, 1, 0, 0)
	finish(v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate})
	Learn(s, v1alpha1.AttemptExposure{Attempt: 1, Answered: true, Mismatched: true, Until: at(time.Second)})
	counts(2, 1, 1, 0) // what was confirmed is not about what it was answered with
	s.EndedAt, s.Revocation = nil, nil
	NeverIssued(s, 2)
	if !s.CredentialExpiresAt.Equal(ptr.To(at(time.Minute))) {
		t.Errorf("the last of them works until %s", s.CredentialExpiresAt)
	}
	NeverIssued(s, 1)
	if s.CredentialExpiresAt != nil {
		t.Errorf("nothing was issued, and it works until %s", s.CredentialExpiresAt)
	}
}

// TestExposure_OfAGrantOfAnEarlierRelease has one that does not keep the list.
func TestExposure_OfAGrantOfAnEarlierRelease(t *testing.T) {
	g := peer("a", 0)
	g.Status.Attempt, g.Status.CredentialExpiresAt = 2, ptr.To(metav1.NewTime(now.Add(time.Minute)))
	if got := g.Counts(now); got != 1 {
		t.Errorf("it counts %d", got)
	}
	Expose(&g.Status, v1alpha1.AttemptExposure{Attempt: 3, Until: metav1.NewTime(now.Add(time.Hour))})
	if got := g.Counts(now); got != 2 || g.Status.Exposed[0].Attempt != 2 {
		t.Errorf("with another attempt it counts %d: %+v", got, g.Status.Exposed)
	}
}
