// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestLedger_AgreesWithAPlainCount does what can happen at random, and compares with a count over everything.
func TestLedger_AgreesWithAPlainCount(t *testing.T) {
	for seed := range uint64(200) {
		m := newModel(t, seed)
		for range 300 {
			m.happen()
			m.offer()
			if m.check(); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

// model knows everything, and counts it anew each time.
type model struct {
	*book
	random   *rand.Rand
	limits   map[string]int32
	requests []*v1alpha1.CapabilityRequest
	reserved map[types.UID]string
	grants   map[types.UID]*v1alpha1.CapabilityGrant
	removed  map[types.UID]*v1alpha1.CapabilityGrant
	// line holds the policy that each waits under, and woken who was woken and has not asked since.
	line  map[types.UID]string
	awake map[string]bool
	// kept holds, for each policy, the namespaces for which slots are kept, and until how long after noon.
	kept map[string]map[string]time.Duration
	now  time.Duration
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		book:     newBook(t),
		random:   rand.New(rand.NewPCG(seed, 1)),
		limits:   map[string]int32{"one": 1, "two": 2},
		reserved: map[types.UID]string{},
		grants:   map[types.UID]*v1alpha1.CapabilityGrant{},
		removed:  map[types.UID]*v1alpha1.CapabilityGrant{},
		line:     map[types.UID]string{},
		awake:    map[string]bool{},
		kept:     map[string]map[string]time.Duration{},
	}
	m.OnWake(func(name types.NamespacedName) { m.awake[name.Name] = true })
	for name := range m.limits {
		m.tellLimit(name)
	}
	for i := range 12 {
		namespace := fmt.Sprintf("team-%d", m.random.IntN(4))
		m.requests = append(m.requests, requestedIn(namespace, fmt.Sprintf("r%02d", i), m.random.IntN(6)))
	}
	return m
}

func (m *model) tellLimit(name string) { m.Policy(limitOf(name, m.limits[name])) }

func limitOf(name string, limit int32) *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.CapabilityPolicySpec{Limits: &v1alpha1.Limits{Active: &limit}},
	}
}

func (m *model) active(name string) int {
	sum, now := 0, noon.Add(m.now)
	for uid, p := range m.reserved {
		if p == name && m.grants[uid] == nil {
			sum++
		}
	}
	for _, g := range m.grants {
		if g.Spec.Approval.Policy == name {
			sum += g.Counts(now)
		}
	}
	for _, g := range m.removed {
		if g.Spec.Approval.Policy == name {
			sum += g.Working(now)
		}
	}
	return sum
}

// inLine are the requests under a policy, the first first.
func (m *model) inLine(name string) []*v1alpha1.CapabilityRequest {
	var line []*v1alpha1.CapabilityRequest
	for _, r := range m.requests {
		if m.line[r.UID] == name {
			line = append(line, r)
		}
	}
	slices.SortFunc(line, func(a, b *v1alpha1.CapabilityRequest) int { return newWaiter("", a).compare(newWaiter("", b)) })
	return line
}

func (m *model) happen() {
	r, name := m.requests[m.random.IntN(len(m.requests))], []string{"one", "two"}[m.random.IntN(2)]
	taken := m.reserved[r.UID] != "" || m.grants[r.UID] != nil || m.removed[r.UID] != nil
	switch m.random.IntN(10) {
	case 0, 1, 2, 3:
		m.ask(name, r, taken)
	case 4:
		if m.grants[r.UID] == nil && m.removed[r.UID] == nil {
			delete(m.reserved, r.UID)
		}
		m.GiveBack(r.UID)
	case 5:
		if p := m.reserved[r.UID]; p != "" && m.grants[r.UID] == nil {
			m.grants[r.UID] = grantOf(r, p)
			delete(m.reserved, r.UID)
			delete(m.kept[p], r.Namespace)
			m.Grant(m.grants[r.UID])
		}
	case 6:
		if g := m.grants[r.UID]; g != nil {
			m.grants[r.UID] = m.goOn(g.DeepCopy())
			m.Grant(m.grants[r.UID])
		}
	case 7:
		if g := m.grants[r.UID]; g != nil {
			delete(m.grants, r.UID)
			m.removed[r.UID] = g
			m.GrantGone(g)
		}
	case 8:
		delete(m.line, r.UID)
		m.leaves(r)
	case 9:
		if m.random.IntN(3) == 0 {
			m.limits[name] = int32(1 + m.random.IntN(4))
			m.tellLimit(name)
			return
		}
		m.sleep([]time.Duration{time.Second, offerLasts, 20 * time.Second}[m.random.IntN(3)])
	}
}

// sleep has time pass, and the timer with it.
func (m *model) sleep(d time.Duration) {
	for end := m.now + d; m.now < end; m.offer() {
		m.now = end
		if due := m.Due(); !due.IsZero() && due.Before(noon.Add(end)) {
			m.now = due.Sub(noon)
		}
		m.at(m.now)
		m.Pass()
	}
}

// offer makes the offers that there should be by now.
func (m *model) offer() {
	for name, limit := range m.limits {
		line, used := m.inLine(name), m.active(name)
		for uid, p := range m.reserved {
			if p == name && m.grants[uid] == nil {
				used--
			}
		}
		if len(line) == 0 || used >= int(limit) || m.kept[name] == nil {
			m.kept[name] = map[string]time.Duration{}
		}
		for _, r := range line {
			if _, kept := m.kept[name][r.Namespace]; !kept && m.active(name)+m.ahead(name, r) < int(limit) {
				m.kept[name][r.Namespace] = m.now + offerLasts
			}
		}
	}
}

// ahead is how many requests have to be left a slot before this one.
func (m *model) ahead(name string, r *v1alpha1.CapabilityRequest) int {
	ahead := 0
	for _, other := range m.inLine(name) {
		until, kept := m.kept[name][other.Namespace]
		late := kept && m.now >= until
		if newWaiter("", other).compare(newWaiter("", r)) < 0 && (other.Namespace == r.Namespace || !late) {
			ahead++
		}
	}
	return ahead
}

// goOn begins another attempt of a grant, or ends it.
func (m *model) goOn(g *v1alpha1.CapabilityGrant) *v1alpha1.CapabilityGrant {
	if g.Status.EndedAt == nil && m.random.IntN(2) == 0 {
		exposed(g.Status.Attempt+1, m.now+time.Duration(m.random.IntN(60))*time.Second)(&g.Status)
		return g
	}
	ended(
		[]v1alpha1.RevocationMode{v1alpha1.RevocationAtExpiry, v1alpha1.RevocationImmediate}[m.random.IntN(2)],
	)(
		&g.Status,
	)
	return g
}

// ask reserves, and compares with what a plain count allows.
func (m *model) ask(name string, r *v1alpha1.CapabilityRequest, taken bool) {
	if taken && m.reserved[r.UID] != name {
		return
	}
	want := taken || m.active(name)+m.ahead(name, r) < int(m.limits[name])
	delete(m.awake, r.Name)
	_, got, err := m.Reserve(name, m.limits[name], r)
	if err != nil || got != want {
		m.Errorf("%s asks for a slot of %s: %v, %v; want %v", r.Name, name, got, err, want)
	}
	delete(m.line, r.UID)
	if got {
		m.reserved[r.UID] = name
	} else {
		m.line[r.UID] = name
	}
}

// check compares what is active, and sees that nobody sleeps who could take a slot.
func (m *model) check() {
	for name, limit := range m.limits {
		active := m.active(name)
		if got := m.Room(name, requested("nobody", 1000)).Active; got != active {
			m.Errorf("%d are active under %s; want %d", got, name, active)
		}
		for _, r := range m.inLine(name) {
			w := m.waiters[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}]
			if w == nil || w.policy != name {
				m.Fatalf("%s is not in line", r.Name)
			}
			if active+m.ahead(name, r) < int(limit) && !m.awake[r.Name] {
				m.Errorf("%d of %d are active, and %s sleeps", active, limit, r.Name)
			}
		}
	}
}

// TestLedger_NeverOneTooManyAtOnce has many ask, create, end and leave at the same time.
func TestLedger_NeverOneTooManyAtOnce(t *testing.T) {
	const limit, agents, rounds = 3, 32, 50
	l := New(clocktesting.NewFakePassiveClock(noon))
	wakes := make(chan types.NamespacedName, agents*rounds*4)
	l.OnWake(func(name types.NamespacedName) { wakes <- name })
	l.Open()
	var holding, most, served atomic.Int32
	work := func(r *v1alpha1.CapabilityRequest) bool {
		_, reserved, err := l.Reserve("one", limit, r)
		if err != nil || !reserved {
			return false
		}
		for now := holding.Add(1); ; {
			before := most.Load()
			if now <= before || most.CompareAndSwap(before, now) {
				break
			}
		}
		served.Add(1)
		holding.Add(-1)
		switch r.CreationTimestamp.Second() % 3 {
		case 0:
			l.GiveBack(r.UID)
		case 1:
			l.Grant(grantOf(r, "one"))
			l.Grant(grantOf(r, "one", ended(v1alpha1.RevocationImmediate)))
		default:
			l.Grant(grantOf(r, "one"))
			l.GrantGone(grantOf(r, "one"))
		}
		return true
	}
	requests := map[string]*v1alpha1.CapabilityRequest{}
	for i := range agents * rounds {
		name := fmt.Sprintf("r%04d", i)
		requests[name] = requested(name, i)
	}
	var group sync.WaitGroup
	for i := range agents {
		group.Go(func() {
			for n := range rounds {
				work(requests[fmt.Sprintf("r%04d", n*agents+i)])
			}
		})
	}
	group.Wait()
	for served.Load() < agents*rounds {
		select {
		case name := <-wakes:
			work(requests[name.Name])
		default:
			t.Fatalf("%d of %d were served, and nobody is woken any more", served.Load(), agents*rounds)
		}
	}
	if most.Load() > limit || most.Load() == 0 {
		t.Errorf("up to %d held a slot at once; the limit is %d", most.Load(), limit)
	}
}
