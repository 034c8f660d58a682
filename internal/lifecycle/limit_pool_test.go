// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// pool is a world of several grants under one limit. Two operators act on them, each on what its watch has shown it
// so far: either may be behind, or be away for long. Every write is guarded by what it is based on.
type pool struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	limit   int32
	ends    bool // the back end ends what it issued when it is asked
	history []state
	procs   [2]proc
	// sessions are those that the back end issued, with the instant until which each works.
	sessions           map[string]time.Time
	most, minted, lost int
}

// state is what is stored at a revision; each grant is never changed, but replaced.
type state []*v1alpha1.CapabilityGrant

type proc struct {
	// view is the revision that the watch has shown.
	view   int
	grants []procGrant
}

// procGrant is what a process remembers of a grant.
type procGrant struct {
	attempt AttemptFacts
	// written is the revision of the process's own last write, claim that of the attempt that it began.
	written, claim int
	asked          bool
}

const asking = time.Minute

func newPool(t *testing.T, seed uint64) *pool {
	random := rand.New(rand.NewPCG(seed, 0))
	p := &pool{
		t:        t,
		random:   random,
		now:      now,
		limit:    int32(1 + random.IntN(3)),
		ends:     random.IntN(2) == 0,
		sessions: map[string]time.Time{},
	}
	var first state
	for i := range 6 {
		g := peer(string(rune('a'+i)), time.Duration(random.IntN(3))*time.Second)
		g.Spec.Approval.Policy, g.Finalizers = "one", []string{v1alpha1.FinalizerRevoke}
		first = append(first, g)
	}
	p.history = []state{first}
	for i := range p.procs {
		p.procs[i].grants = make([]procGrant, len(first))
	}
	return p
}

func (p *pool) head() int { return len(p.history) - 1 }

// newest is a grant as a process knows it: as the watch shows it, or as the process itself wrote it later.
func (p *pool) newest(o *proc, i int) (*v1alpha1.CapabilityGrant, int) {
	at := max(o.view, o.grants[i].written)
	g := p.history[at][i]
	return g, at
}

// write replaces a grant, if nobody did since the revision that the write is based on.
func (p *pool) write(o *proc, i, based int, change func(*v1alpha1.CapabilityGrant)) bool {
	if p.history[based][i] != p.history[p.head()][i] {
		return false
	}
	next := slices.Clone(p.history[p.head()])
	next[i] = next[i].DeepCopy()
	change(next[i])
	p.history = append(p.history, next)
	o.grants[i].written = p.head()
	return true
}

// act has a process take one step for a grant.
func (p *pool) act(o *proc, i int) {
	g, based := p.newest(o, i)
	m := &o.grants[i]
	if g == nil {
		return
	}
	var peers []*v1alpha1.CapabilityGrant
	for _, other := range p.history[o.view] {
		if other != nil {
			peers = append(peers, other)
		}
	}
	f := Facts{
		Grant:   g,
		Job:     JobFacts{Exists: true, Suspended: true, Idle: true},
		Request: RequestFacts{Exists: g.DeletionTimestamp == nil, Names: true},
		Policy: PolicyFacts{
			Known:  true,
			Allows: true,
		},
		Attempt: m.attempt,
		Limit:   LimitFacts{Active: &p.limit, Peers: peers, Current: o.view >= m.claim},
	}
	a := Next(f, p.now)
	switch a.Step {
	case BeginAttempt:
		until := metav1.NewTime(p.now.Add(lifetime + asking))
		if p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) {
			Expose(&g.Status, v1alpha1.AttemptExposure{Attempt: a.Attempt, Until: until})
			g.Status.Attempt, g.Status.IssuedAt = a.Attempt, nil
		}) {
			m.attempt, m.claim, m.asked = AttemptFacts{Began: a.Attempt, BeganAt: p.now}, p.head(), false
		}
	case Withdraw:
		if p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) { NeverIssued(&g.Status, m.attempt.Began) }) {
			m.attempt = AttemptFacts{}
		}
	case TryPod:
		m.attempt.PodTried = true
		p.act(o, i) // The controller goes on at once.
	case CopyInputs:
		m.attempt.Copied = true
		p.act(o, i) // The controller goes on at once.
	case Mint:
		m.attempt.Minting, m.asked = true, true
		p.mint(fmt.Sprintf("%s-%d", g.Name, m.attempt.Began))
	case StoreSecret, StartJob:
		m.attempt.Stored = p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) {
			Expose(
				&g.Status,
				v1alpha1.AttemptExposure{
					Attempt:  m.attempt.Began,
					Until:    metav1.NewTime(p.sessions[fmt.Sprintf("%s-%d", g.Name, m.attempt.Began)]),
					Answered: true,
				},
			)
			g.Status.IssuedAt = ptr.To(metav1.NewTime(p.now))
		})
	case Stop:
		p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) { stop := a.Stop; g.Status.Stop = &stop })
	case Revoke:
		p.revoke(o, i, based)
	case End:
		p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) { g.Status.EndedAt = ptr.To(metav1.NewTime(p.now)) })
	case Sweep:
		m.attempt.SweptAt = p.now
	case Release:
		if p.history[based][i] == p.history[p.head()][i] && g.DeletionTimestamp != nil {
			next := slices.Clone(p.history[p.head()])
			next[i] = nil
			p.history = append(p.history, next)
		}
	case Wait, RecordDelivery, StopJob:
	}
}

func (p *pool) mint(session string) {
	p.minted++
	p.sessions[session] = p.now.Add(lifetime)
	alive := 0
	for _, until := range p.sessions {
		if p.now.Before(until) {
			alive++
		}
	}
	if p.most = max(p.most, alive); alive > int(p.limit) {
		p.t.Fatalf("%d credentials work, and the limit is %d", alive, p.limit)
	}
}

func (p *pool) revoke(o *proc, i, based int) {
	g := p.history[based][i]
	mode := v1alpha1.RevocationAtExpiry
	if p.ends {
		mode = v1alpha1.RevocationImmediate
		for attempt := range g.Status.Attempt {
			delete(p.sessions, fmt.Sprintf("%s-%d", g.Name, attempt+1))
		}
	}
	if g.Status.CredentialExpiresAt == nil {
		mode = v1alpha1.RevocationNone
	}
	m := &o.grants[i]
	if p.write(o, i, based, func(g *v1alpha1.CapabilityGrant) {
		g.Status.Revocation = &v1alpha1.Revocation{Mode: mode}
		if m.attempt.Failure.Message == "" {
			Answered(&g.Status, m.attempt.Began)
		}
	}) {
		m.attempt.Revoked = true
	}
}

// happen is anything that can happen next.
func (p *pool) happen() {
	o := &p.procs[p.random.IntN(2)]
	i := p.random.IntN(len(o.grants))
	m := &o.grants[i]
	switch what := p.random.IntN(100); {
	case what < 50:
		p.act(o, i)
	case what < 58: // the watch shows more
		o.view = min(p.head(), o.view+1+p.random.IntN(8))
	case what < 80: // the back end answers
		if m.attempt.Minting {
			m.attempt.Minting = false
			if g, _ := p.newest(o, i); g != nil && g.Status.Stop == nil {
				m.attempt.Minted = true
			}
		}
	case what < 82: // somebody deletes the request
		if g := p.history[p.head()][i]; g != nil && g.DeletionTimestamp == nil {
			next := slices.Clone(p.history[p.head()])
			next[i] = g.DeepCopy()
			next[i].DeletionTimestamp = ptr.To(metav1.NewTime(p.now))
			p.history = append(p.history, next)
		}
	case what < 83: // a crash
		p.lost++
		*o = proc{view: p.head(), grants: make([]procGrant, len(o.grants))}
	case what < 97:
		p.now = p.now.Add(time.Duration(p.random.IntN(5000)) * time.Millisecond)
	default:
		p.now = p.now.Add(time.Duration(p.random.IntN(300)) * time.Second)
	}
}

// TestLimit_TwoOperatorsNeverIssueOneTooMany has two operators that both believe to lead, each behind the other's
// writes.
func TestLimit_TwoOperatorsNeverIssueOneTooMany(t *testing.T) {
	const runs, steps = 4000, 1000
	minted, full := 0, 0
	for seed := range uint64(runs) {
		p := newPool(t, seed)
		for range steps {
			if p.happen(); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		minted += p.minted
		if p.most == int(p.limit) {
			full++
		}
	}
	t.Logf("%d credentials were issued in %d runs, %d of which reached their limit", minted, runs, full)
	if minted < runs || full < runs/3 {
		t.Error("too little happened to show anything")
	}
}
