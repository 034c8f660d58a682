// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// tokenTime is how long a token of these tests lasts, the shortest that can be asked for, and askingTime what passes
// at the most until it is signed.
const (
	tokenTime  = 10 * time.Second
	askingTime = time.Minute
)

// witness counts the tokens that work at the same time. It believes nothing that the operator counts: it looks at
// what the API server stores, by the rule by which introspection answers, and at the audit log.
type witness struct {
	mu     sync.Mutex
	active map[types.UID]bool
	most   int
}

// watchTokens counts those of a namespace from now on.
func watchTokens(t *testing.T, w *world, namespace string) *witness {
	t.Helper()
	n := &witness{active: map[types.UID]bool{}}
	source, err := w.source(&v1alpha1.CapabilityGrant{}, namespace, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	_, informer := cache.NewInformerWithOptions(
		cache.InformerOptions{
			ListerWatcher: source,
			ObjectType:    &v1alpha1.CapabilityGrant{},
			Handler: cache.ResourceEventHandlerFuncs{
				AddFunc: n.see, UpdateFunc: func(_, object any) { n.see(object) },
				DeleteFunc: func(object any) {
					if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
						object = last.Obj
					}
					n.set(object.(*v1alpha1.CapabilityGrant), false)
				}},
		},
	)
	go informer.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the grants are not watched")
	}
	return n
}

func (n *witness) see(object any) {
	g := object.(*v1alpha1.CapabilityGrant)
	n.set(g, g.Status.IssuedAt != nil && g.Status.Stop == nil && g.Status.EndedAt == nil && g.DeletionTimestamp == nil)
}

func (n *witness) set(g *v1alpha1.CapabilityGrant, active bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.active, g.UID)
	if active {
		n.active[g.UID] = true
	}
	n.most = max(n.most, len(n.active))
}

// mostAtOnce is the most sessions that the audit logs say could be in use at any instant. A session counts from the
// record that it is about to be asked for, until one says that its grant's were revoked, or until it has expired:
// also if nobody ever got it. A token that was signed, which a record says, lasts from the whole second in which it
// was asked for. One of which nothing more is known can be signed as long as the time for asking lasts, of which up
// to AskWithin is over when the first record is written.
func mostAtOnce(t *testing.T, logs [][]byte, namespace string) (most, sessions int) {
	t.Helper()
	type session struct {
		lease       string
		attempt     int32
		from, until time.Time
	}
	var all []*session
	for _, text := range logs {
		for line := range strings.Lines(string(text)) {
			var r audit.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Namespace != namespace {
				continue // the last line of a process that was killed
			}
			at, err := time.Parse(time.RFC3339Nano, r.Timestamp)
			if err != nil {
				t.Fatal(err)
			}
			switch r.Event {
			case audit.EventIssuing:
				until := at.Add(tokenTime + askingTime - lifecycle.AskWithin)
				all = append(all, &session{lease: r.LeaseID, attempt: r.Attempt, from: at, until: until})
			case audit.EventIssued:
				for _, s := range all {
					if s.lease == r.LeaseID && s.attempt == r.Attempt {
						s.until = s.from.Truncate(time.Second).Add(tokenTime)
					}
				}
			case audit.EventRevoked:
				for _, s := range all {
					if s.lease == r.LeaseID && s.until.After(at) {
						s.until = at
					}
				}
			}
		}
	}
	for _, at := range all {
		n := 0
		for _, s := range all {
			if !s.from.After(at.from) && s.until.After(at.from) {
				n++
			}
		}
		most = max(most, n)
	}
	return most, len(all)
}

// TestLimits_CrowdAndKills has many requests made at once, under limits of 1, 2 and 50, while the operator is killed
// again and again: a thousand requests for each limit when thorough.
func TestLimits_CrowdAndKills(t *testing.T) {
	flags, issuer, _ := issuerFlags(t)
	for limit, size := range map[int32]int{1: 6, 2: 12, 50: 70} {
		kills := 1 // Each can leave what nobody holds, which then counts for more than a minute.
		if *thorough {
			size, kills = 1000, 10
		}
		t.Run(fmt.Sprintf("limit of %d", limit), func(t *testing.T) {
			j := alone(t, fmt.Sprintf("crowd-of-%d", limit), nil)
			j.enrol(j.name)
			j.internalToken(issuer)
			j.store(j.policy(func(p *v1alpha1.CapabilityPolicySpec) { p.Limits = &v1alpha1.Limits{Active: &limit} }))
			c := &crasher{journey: j, tally: newTally(t, j.w, j.namespace), flags: flags}
			c.crowdAndKills(t, int(limit), size, kills)
		})
	}
}

func (c *crasher) crowdAndKills(t *testing.T, limit, size, kills int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	seen := watchTokens(t, c.w, c.namespace)
	m := c.newMember(t)
	c.run(t, m)
	c.must(m.awaitReady(t.Context()))
	// The first time it is killed when a token was signed and nobody has it yet.
	lost := &strike{step: "storing the Secret", lose: true, struck: make(chan struct{}), do: func() { _ = m.kill() }}
	m.gate.on(func(step string, _ *http.Request, _ []byte) fate { return lost.decide(step) })
	served := c.asksAll(t, size)
	for kill := range kills {
		if kill > 0 {
			c.killIn(m, int64(1+random.IntN(4*size/kills)), random.IntN(2) == 0)
		}
		select {
		case <-m.ended:
			c.tally.count(1, 0)
			m.gate.on(nil)
			c.run(t, m)
		case <-served:
		}
	}
	<-served
	m.gate.on(nil)
	most, sessions := mostAtOnce(t, c.tally.readLogs(), c.namespace)
	fmt.Printf(`
requests made at once, limit                             %d, %d
kills, restarts                                          %d, %d
sessions that were asked for                             %d
most of them that could be in use at once, by audit log  %d
most tokens that introspection called active at once     %d
`, size, limit, c.tally.kills, c.tally.restarts, sessions, most, seen.most)
	if most > limit || seen.most > limit {
		t.Errorf("up to %d could be in use, %d were active; the limit is %d", most, seen.most, limit)
	}
	if want := min(limit, size); limit <= 2 && most < want || sessions < size {
		t.Errorf("%d sessions, up to %d at once: the test shows nothing", sessions, most)
	}
	c.clears(m)
}

// asksAll has all requests made at once, and closes the channel when all have ended.
func (c *crasher) asksAll(t *testing.T, size int) <-chan struct{} {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range size {
		group.Go(func() error {
			one := c.beside(fmt.Sprintf("%s-%04d", c.name, i))
			request := one.sampleRequest(func(r *v1alpha1.CapabilityRequest) {
				r.Spec.Environment, r.Spec.TTLSeconds = c.name, ptr.To(int32(tokenTime/time.Second))
			})
			return errors.Join(one.agent.Create(t.Context(), request), one.agent.Create(t.Context(), one.sampleJob()))
		})
	}
	c.must(group.Wait())
	served := make(chan struct{})
	go func() {
		defer close(served)
		c.awaitAllEnded(t, size)
	}()
	return served
}

// awaitAllEnded returns when so many requests have ended. However many there are, it waits for the next one as long as
// for what several kills left to expire one after the other.
func (c *crasher) awaitAllEnded(t *testing.T, count int) {
	const longest = 3*(tokenTime+askingTime) + patience
	source, err := c.w.source(&v1alpha1.CapabilityRequest{}, c.namespace, nil, "")
	if err != nil {
		t.Error(err)
		return
	}
	ended, progress := map[string]bool{}, time.Now()
	for len(ended) < count {
		before := len(ended)
		_, err = until(
			t.Context(),
			c.w,
			&v1alpha1.CapabilityRequest{},
			source,
			false,
			func(r *v1alpha1.CapabilityRequest) bool {
				if r.Status.EndedAt != nil {
					ended[r.Name] = true
				}
				return len(ended) >= count
			},
		)
		switch {
		case len(ended) > before:
			progress = time.Now()
		case time.Since(progress) > longest:
			t.Errorf("%d of %d requests have ended, and no more: %v", before, count, err)
			return
		}
	}
}

// clears removes what was made, for which an operator is needed, and stops that.
func (c *crasher) clears(m *member) {
	c.Helper()
	c.must(c.w.admin.Delete(c.Context(), c.policy()))
	list := &v1alpha1.CapabilityRequestList{}
	c.must(c.w.admin.List(c.Context(), list, client.InNamespace(c.namespace)))
	var group errgroup.Group
	group.SetLimit(16)
	for i := range list.Items {
		group.Go(func() error { return client.IgnoreNotFound(c.w.admin.Delete(c.Context(), &list.Items[i])) })
	}
	c.must(group.Wait())
	c.awaitNoGrants()
	c.must(m.stop())
}

// TestLimits_LeaderThatWakesLate pauses a leader that is about to store a grant, for which there is room. Another one
// takes over, and grants as much as the limit allows. Then the first goes on, and stores one grant too many.
func TestLimits_LeaderThatWakesLate(t *testing.T) {
	flags, issuer, _ := issuerFlags(t)
	// The one that takes over issues by the same key; it has an address of its own to answer at.
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(
		slices.Clone(flags),
		func(f string) bool { return strings.HasPrefix(f, "--token-address=") },
	)
	others = append(others, "--token-address="+address)
	j := alone(t, "wakes-late", nil)
	j.enrol(j.name)
	j.internalToken(issuer)
	j.store(j.policy(one))
	c := &crasher{journey: j, tally: newTally(t, j.w, j.namespace)}
	seen := watchTokens(t, j.w, j.namespace)
	late, other, holder := c.twoLeaders(t, flags, others)

	first, second := c.beside("first"), c.beside("hold-second") // whose Pod goes on
	release := make(chan struct{})
	s := &strike{step: "storing the grant", struck: make(chan struct{}), do: func() {
		_ = late.cmd.Process.Signal(syscall.SIGSTOP) // the test sees it go on
		<-release
	}}
	late.gate.on(func(step string, _ *http.Request, _ []byte) fate {
		if step == "beginning an attempt" {
			// It would count for as long as what it may have been issued could work, and the other could not go on.
			return fate{status: http.StatusTooManyRequests}
		}
		return s.decide(step)
	})
	other.gate.on(func(step string, _ *http.Request, body []byte) fate {
		if step == "storing the grant" && strings.Contains(string(body), `"name":"first"`) {
			return fate{status: http.StatusTooManyRequests}
		}
		return fate{}
	})
	first.asksBeside(j)
	<-s.struck
	second.asksBeside(j)
	c.awaitLeader(holder)
	second.awaitDelivered()
	c.must(late.cmd.Process.Signal(syscall.SIGCONT))
	close(release)
	<-late.ended // it finds out that it leads no more
	other.gate.on(nil)
	waits := await(t, j.w, first.grantObject(), "stored, and waiting for room", func(g *v1alpha1.CapabilityGrant) bool {
		return condition(g.Status.Conditions, v1alpha1.ConditionIssued).Reason == v1alpha1.ReasonLimitReached
	})
	if words := condition(waits.Status.Conditions, v1alpha1.ConditionIssued).Message; !strings.Contains(
		words,
		"limits.active of policy wakes-late is 1",
	) {
		t.Errorf("it says %s", words)
	}
	j.must(j.agent.Delete(t.Context(), second.requestObject()))
	first.awaitDelivered()
	if seen.most != 1 {
		t.Errorf("up to %d tokens were active at once; want 1", seen.most)
	}
	c.clears(other)
}

// twoLeaders starts one operator that leads, and one that takes over from it.
func (c *crasher) twoLeaders(t *testing.T, flags, others []string) (leads, standsBy *member, holder string) {
	t.Helper()
	elects := []string{"--leader-elect=true", "--leader-lease=2s"}
	leads, standsBy = c.newMember(t), c.newMember(t)
	c.flags = flags
	c.run(t, leads, elects...)
	holder = c.awaitLeader("")
	c.flags = others
	c.run(t, standsBy, elects...)
	c.must(leads.awaitReady(t.Context()))
	c.must(standsBy.awaitReady(t.Context()))
	return leads, standsBy, holder
}
