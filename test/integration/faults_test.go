// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
)

// faulty is a crasher whose operator is not killed: what it talks to fails.
func faulty(t *testing.T, name string, flags ...string) (*crasher, *member) {
	t.Helper()
	j := alone(t, name, nil)
	j.enrol(name)
	c := &crasher{journey: j, tally: newTally(t, j.w, j.namespace), sts: j.w.stsGate(t)}
	c.flags = append(flags, "--aws-endpoint="+c.sts.server.URL)
	c.strikeAt(nil)
	c.store(c.allowed())
	c.provider(c.sts.server.URL)
	c.capability(c.name, c.role())
	m := c.newMember(t)
	c.run(t, m)
	c.must(m.awaitReady(t.Context()))
	return c, m
}

// finish ends the operator and looks at what it left.
func (c *crasher) over(m *member) {
	c.Helper()
	c.must(m.stop())
	c.tally.settle(c.T)
}

// TestEveryWriteFailsOnce has each request that changes something, and each question that an issue depends on, fail in each way: the
// grant is delivered once and ends well all the same.
func TestEveryWriteFailsOnce(t *testing.T) {
	c, m := faulty(t, "faults")
	faults := []struct {
		name string
		fate fate
	}{
		{"an internal error", fate{status: http.StatusInternalServerError}},
		{"a conflict", fate{status: http.StatusConflict}},
		{"too many requests", fate{status: http.StatusTooManyRequests}},
		{"a connection that breaks", fate{drop: true}},
		{"an answer that is lost", fate{lose: true}},
	}
	steps := slices.DeleteFunc(append(slices.Clone(stepsToCompletion), "probing the guard", "asking who may"), func(s string) bool { return s == "minting" })
	for i, step := range steps {
		for k, f := range faults {
			if !*thorough && k != i%len(faults) {
				continue
			}
			t.Run(step+": "+f.name, func(t *testing.T) {
				var came atomic.Bool
				m.gate.on(func(at string, r *http.Request, _ []byte) fate {
					if (at == step || at == "" && questionOf(r) == step) && came.CompareAndSwap(false, true) {
						return f.fate
					}
					return fate{}
				})
				// What was answered is remembered, for a moment or until roles change: the question comes with a
				// later grant.
				for tries := 0; !came.Load(); tries++ {
					c.annotate(c.w.admin, &rbacv1.RoleBinding{ObjectMeta: c.meta("web-app-bot")}, "changed",
						fmt.Sprint(i, tries))
					const enough = 5
					if tries == enough {
						t.Fatal("the step never came")
					}
					j := c.begins(t, step)
					g := j.awaitDelivered()
					c.ends(j, step)
					if g.Status.Attempt > 2 {
						t.Errorf("it took %d attempts", g.Status.Attempt)
					}
				}
			})
		}
	}
	m.gate.on(nil)
	c.over(m)
}

// questionOf names what is asked of the API server before a credential is issued.
func questionOf(r *http.Request) string {
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets"):
		return "probing the guard"
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
		return "asking who may"
	default:
		return ""
	}
}

// TestTheWatchIsLost breaks every connection when a step comes, the watches' among them.
func TestTheWatchIsLost(t *testing.T) {
	c, m := faulty(t, "watch-lost")
	for _, step := range []string{"storing the grant", "beginning an attempt", "starting the Job", "writing the delivery", "writing why it ends"} {
		t.Run("at "+step, func(t *testing.T) {
			s := &strike{step: step, after: true, do: m.gate.server.CloseClientConnections, lose: true, struck: make(chan struct{})}
			c.strikeAt(s, m)
			j := c.begins(t, step)
			c.ends(j, step)
			<-s.struck
		})
	}
	c.over(m)
}

// TestTheAPIServerIsAway has a grant run, and another wait for its approval, while API server and etcd are stopped: for thirty
// seconds when thorough.
func TestTheAPIServerIsAway(t *testing.T) {
	away := 3 * time.Second
	if *thorough {
		away = 30 * time.Second
	}
	c, m := faulty(t, "api-away")
	running := c.begins(t, "counting the Pod")
	running.awaitDelivered()
	running.awaitRunning()
	asking := c.begins(t, "")
	for _, program := range []string{"kube-apiserver", "etcd"} {
		c.must(c.w.cluster.StopProgram(program))
	}
	// The length of the outage is what is tried here.
	<-time.After(away)
	for _, program := range []string{"etcd", "kube-apiserver"} {
		c.must(c.w.cluster.StartProgram(program))
	}
	c.must(c.w.cluster.WaitReady(t.Context()))
	c.tally.watch(t)
	c.must(m.awaitReady(t.Context()))
	c.ends(asking, "")
	c.ends(running, "counting the Pod")
	if m.cmd.ProcessState != nil {
		t.Error("the operator did not survive it")
	}
	c.ends(c.begins(t, ""), "")
	c.over(m)
}

// TestAnSTSWhoseCertificateIsNotTrustedIsAskedForNothing: the token is not sent to whoever answers there.
func TestAnSTSWhoseCertificateIsNotTrustedIsAskedForNothing(t *testing.T) {
	var heard atomic.Int32
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	stranger.Config.ErrorLog = nobodysLog()
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	j := alone(t, "not-trusted", stage.ownOperator(t, "--aws-endpoint="+stranger.URL))
	j.allow()
	j.provider(stranger.URL)
	j.capability(j.name, "arn:aws:iam::123456789012:role/nobody")
	j.ask()
	g := j.awaitIssued(v1alpha1.ReasonBackingOff)
	if words := condition(g.Status.Conditions, v1alpha1.ConditionIssued).Message; !strings.Contains(words, "certificate") {
		t.Errorf("it says %q", words)
	}
	j.expectNothingIssued()
	if heard.Load() > 0 {
		t.Error("the token was sent to a server that nobody vouches for")
	}
}

// awaitFailures returns when so many grants have failed at least once.
func (c *crasher) awaitFailures(count int) {
	c.Helper()
	source, err := c.w.source(&v1alpha1.CapabilityGrant{}, c.namespace, nil, v1alpha1.LabelRequest)
	c.must(err)
	failed := map[string]bool{}
	for before := -1; before < len(failed); {
		before = len(failed)
		_, err = until(c.Context(), c.w, &v1alpha1.CapabilityGrant{}, source, false, func(g *v1alpha1.CapabilityGrant) bool {
			if condition(g.Status.Conditions, v1alpha1.ConditionIssued).Reason == v1alpha1.ReasonBackingOff {
				failed[g.Name] = true
			}
			return len(failed) >= count
		})
		if err == nil {
			return
		}
	}
	c.Fatalf("%d of %d have failed, and no more: %v", len(failed), count, err)
}

// TestHopelessRequestsKeepNobodyWaiting has an STS that never answers for one capability asked for fifty times, or three thousand when thorough,
// while ten ask for another.
func TestHopelessRequestsKeepNobodyWaiting(t *testing.T) {
	hopeless := 50
	if *thorough {
		hopeless = 3000
	}
	c, m := faulty(t, "hopeless")
	c.sts.on(func(_ string, r *http.Request, body []byte) fate {
		if strings.Contains(string(body), "role%2Fsilent") {
			<-r.Context().Done() // the operator gives up first
			return fate{drop: true}
		}
		return fate{}
	})
	silent := *c.journey
	silent.name = "silent"
	silent.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: silent.name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: silent.name}}})
	arn, err := c.w.cluster.AWS().EnsureRole(t.Context(), localcluster.RoleSpec{Name: silent.name, Namespace: identities, ServiceAccount: silent.name})
	c.must(err)
	silent.store(silent.capabilityObject(c.name, arn))
	policy := c.allowed()
	policy.Name, policy.Spec.Capabilities = silent.name, []string{silent.name}
	c.store(policy)

	served := func(prefix string) time.Duration {
		began := time.Now()
		var group errgroup.Group
		for i := range 10 {
			group.Go(func() error { return c.live(t, fmt.Sprintf("%s-%d", prefix, i)) })
		}
		c.must(group.Wait())
		return time.Since(began)
	}
	alone := served("alone")
	var group errgroup.Group
	group.SetLimit(8)
	for i := range hopeless {
		group.Go(func() error {
			one := silent
			one.name = fmt.Sprintf("silent-%d", i)
			return errors.Join(one.agent.Create(t.Context(), one.sampleRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = c.name })),
				one.agent.Create(t.Context(), one.sampleJob()))
		})
	}
	c.must(group.Wait())
	c.awaitFailures(hopeless)
	beside := served("beside")
	living := &v1alpha1.CapabilityGrantList{}
	c.must(c.w.admin.List(t.Context(), living, client.InNamespace(c.namespace)))
	n := 0
	for _, g := range living.Items {
		if strings.HasPrefix(g.Name, "silent-") && g.Status.EndedAt == nil {
			n++
		}
	}
	fmt.Printf("10 requests were served from creation to end in %.1f s alone, and in %.1f s beside %d that no STS ever answers, %d of which had a grant\n", alone.Seconds(), beside.Seconds(), hopeless, n)
	if n < hopeless/2 {
		t.Errorf("only %d of %d hopeless grants were there to be in the way", n, hopeless)
	}
	c.must(m.kill())
	// What is left goes with the namespace: an operator ends it.
	last := stage.ownOperator(t)
	for i := range living.Items {
		// One by one: all at once would take longer than the API server gives a request.
		group.Go(func() error {
			request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: living.Items[i].Name}}
			return client.IgnoreNotFound(c.w.admin.Delete(t.Context(), request))
		})
	}
	c.must(group.Wait())
	c.awaitNoGrants()
	c.must(last.readyz(t.Context(), ""))
}

// awaitNoGrants returns when the namespace has no grant left. However many there are, from one change of any to the next it waits as long
// as for one: all of them are stopped before the first is ended.
func (c *crasher) awaitNoGrants() {
	c.Helper()
	like := &v1alpha1.CapabilityGrant{}
	source, err := c.w.source(like, c.namespace, nil, "")
	c.must(err)
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	var left cache.Store
	_, err = watchtools.UntilWithSync(ctx, source, like, func(store cache.Store) (bool, error) {
		left = store
		return len(store.ListKeys()) == 0, nil
	}, func(watch.Event) (bool, error) {
		late.Reset(patience)
		return len(left.ListKeys()) == 0, nil
	})
	if err != nil {
		one := ""
		if all := left.List(); len(all) > 0 {
			one = describeYAML(all[0])
		}
		c.Fatalf("no grant changed for %s, and %d are left, one of them\n%s%v", patience, len(left.ListKeys()), one, err)
	}
}
