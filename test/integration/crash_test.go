// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// thorough is for `make test-crash`: every step, before and after, and two hundred kills. Without it a sample is taken.
var thorough = flag.Bool("thorough", false, "kill the operator at every step, and at least 200 times in all")

// crasher kills and pauses operators, all of whose writes go through gates.
type crasher struct {
	*journey
	tally *tally
	sts   *gate
	flags []string
	count int
}

// member is one operator with a gate and an audit log of its own, which outlive it.
type member struct {
	*operator
	gate *gate
	dir  string
}

func TestCrashes(t *testing.T) {
	j := alone(t, "crashes", nil)
	j.enrol("crashers")
	c := &crasher{journey: j, tally: newTally(t, j.w, j.namespace), sts: j.w.stsGate(t)}
	c.flags = []string{"--aws-endpoint=" + c.sts.server.URL}
	c.strikeAt(nil)
	c.store(c.allowed())
	c.provider(c.sts.server.URL)
	c.capability(c.name, c.role())
	t.Run("killed at each step", c.killedAtEachStep)
	t.Run("a leader killed or paused at each step", c.leaders)
	t.Run("killed at random under load", c.killedUnderLoad)
	c.tally.settle(t)
}

// allowed needs no approval, and no operator to say that it knows it: the crashes' own request waits until it is known.
func (c *crasher) allowed() *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{c.name}, Repos: []string{"web-app"}, Environments: []string{c.name},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: c.namespace, Name: "web-app-bot"}},
	}}
}

// strike happens once: when a step comes, before the server hears of it or when it has answered.
type strike struct {
	step  string
	after bool
	// do is done while the operator waits for the answer.
	do func()
	// lose: the operator never gets it.
	lose   bool
	came   atomic.Bool
	struck chan struct{}
}

func (s *strike) decide(step string) fate {
	if s == nil || step != s.step || !s.came.CompareAndSwap(false, true) {
		return fate{}
	}
	do := func(int) {
		close(s.struck)
		s.do()
	}
	if s.after {
		return fate{then: do, lose: s.lose}
	}
	do(0)
	return fate{drop: s.lose}
}

// strikeAt has STS counted, and the strike happen there or at the members' gates.
func (c *crasher) strikeAt(s *strike, members ...*member) {
	c.sts.on(func(_ string, r *http.Request, body []byte) fate {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return fate{status: http.StatusBadRequest}
		}
		counted := c.tally.mints(form.Get("RoleSessionName"))
		f := s.decide("minting")
		then := f.then
		f.then = func(status int) {
			counted(status)
			if then != nil {
				then(status)
			}
		}
		return f
	})
	for _, m := range members {
		m.gate.on(func(step string, _ *http.Request, _ []byte) fate { return s.decide(step) })
	}
}

func (c *crasher) newMember(t *testing.T) *member {
	t.Helper()
	m := &member{gate: c.w.apiGate(t), dir: c.TempDir()}
	c.tally.logs = append(c.tally.logs, m.dir)
	t.Cleanup(func() {
		if m.operator != nil && !m.over() {
			if err := m.kill(); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// run starts the member's operator, again if it ran before, and returns at once.
func (c *crasher) run(t *testing.T, m *member, flags ...string) {
	t.Helper()
	o, err := c.w.start(exec.Command(c.w.manager), m.gate.kubeconfig(c.T, c.w), m.dir, append(flags, c.flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	if m.operator != nil {
		c.tally.count(0, 1)
	}
	m.operator = o
}

// The steps of a grant whose Job ends well, and those of one that is deleted while its Job runs.
var (
	stepsToCompletion = []string{"marking the namespace", "storing the grant", "naming the grant", "beginning an attempt", "asking for a token", "minting",
		"storing the Secret", "writing what was issued", "starting the Job", "writing the delivery", "writing why it ends", "deleting the Secret",
		"writing the end", "writing the request's end"}
	stepsOfARemoval = []string{"counting the Pod", "stopping the Job", "releasing the grant"}
)

// eachStep calls for each step, before and after. When not thorough, it calls for one in so many of those that are soon over.
func eachStep(sample int, do func(step string, after bool)) {
	steps := stepsToCompletion
	if *thorough {
		sample, steps = 1, append(slices.Clone(steps), stepsOfARemoval...)
	}
	for i := sample - 1; i < 2*len(steps); i += sample {
		do(steps[i/2], i%2 == 1)
	}
}

func when(after bool) string {
	if after {
		return "after "
	}
	return "before "
}

// begins begins a journey on its way to the step, under a name that was never used.
func (c *crasher) begins(t *testing.T, step string) *journey {
	t.Helper()
	c.count++
	one := *c.journey
	one.T, one.name = t, fmt.Sprintf("crash-%d", c.count)
	if slices.Contains(stepsOfARemoval, step) {
		one.name = fmt.Sprintf("hold-%d", c.count)
	}
	one.request(func(r *v1alpha1.CapabilityRequest) {
		r.Spec.Environment = c.name
		if step == "stopping the Job" {
			// A Pod that went while no operator looked may have been removed by force: its grant ends at the Pod's deadline.
			r.Spec.TTLSeconds = ptr.To[int32](10)
		}
	})
	one.job()
	return &one
}

// ends takes a journey to its end, and removes it.
func (c *crasher) ends(j *journey, step string) {
	j.Helper()
	if slices.Contains(stepsOfARemoval, step) {
		j.awaitDelivered()
		j.awaitRunning()
		if step == "counting the Pod" {
			j.finish(corev1.PodSucceeded)
		} else if err := j.w.admin.Delete(j.Context(), j.grantObject()); client.IgnoreNotFound(err) != nil {
			j.Fatal(err)
		}
	}
	request := j.requestObject()
	source, err := c.w.source(request, j.namespace, fields.OneTermEqualSelector("metadata.name", j.name), "")
	j.must(err)
	_, err = until(j.Context(), c.w, request, source, false, func(r *v1alpha1.CapabilityRequest) bool { return r.Status.EndedAt != nil })
	if err != nil {
		j.Fatalf("%s has not ended: %v\n%s", j.name, err, c.around(j.Context(), request))
	}
	j.expectNoSecret()
	j.must(client.IgnoreNotFound(j.agent.Delete(j.Context(), j.requestObject())))
	awaitGone(j.T, j.w, j.grantObject())
	j.must(client.IgnoreNotFound(j.agent.Delete(j.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground))))
}

func (c *crasher) killedAtEachStep(t *testing.T) {
	m := c.newMember(t)
	c.run(t, m)
	if err := m.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	const sample = 5
	eachStep(sample, func(step string, after bool) {
		t.Run(when(after)+step, func(t *testing.T) {
			s := &strike{step: step, after: after, lose: true, struck: make(chan struct{})}
			s.do = func() { _ = m.kill() } // it has ended, or never will
			c.strikeAt(s, m)
			j := c.begins(t, step)
			restarted := make(chan struct{})
			go func() {
				defer close(restarted)
				<-s.struck
				<-m.ended
				c.tally.count(1, 0)
				c.run(t, m)
			}()
			c.ends(j, step)
			if !s.came.Load() {
				t.Fatal("the step never came")
			}
			<-restarted
		})
	})
	if err := m.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

// leaders has two operators, one of which leads. It is killed, or paused until the other has taken over and done its work: then it
// goes on, and what it was about to write is late.
func (c *crasher) leaders(t *testing.T) {
	flags := []string{"--leader-elect=true", "--leader-lease=2s"}
	leader, standby := c.newMember(t), c.newMember(t)
	c.run(t, leader, flags...)
	holder := c.awaitLeader("")
	c.run(t, standby, flags...)
	for _, m := range []*member{leader, standby} {
		if err := m.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const sample = 11
	eachStep(sample, func(step string, after bool) {
		for _, paused := range []bool{false, true} {
			name := "killed " + when(after) + step
			if paused {
				name = "paused " + when(after) + step
			}
			t.Run(name, func(t *testing.T) {
				// Whoever was late to take over is awaited here, so that the standby of the last round is the leader of this one.
				release := make(chan struct{})
				s := &strike{step: step, after: after, lose: !paused, struck: make(chan struct{})}
				s.do = func() {
					if !paused {
						_ = leader.kill() // it has ended, or never will
						return
					}
					_ = leader.cmd.Process.Signal(syscall.SIGSTOP) // the test sees it go on
					<-release
				}
				c.strikeAt(s, leader)
				j := c.begins(t, step)
				taken := make(chan string, 1)
				go func() {
					<-s.struck
					taken <- c.awaitLeader(holder)
				}()
				c.ends(j, step)
				if !s.came.Load() {
					t.Fatal("the step never came")
				}
				holder = <-taken // the last step is over before the other takes over
				if paused {
					if err := leader.cmd.Process.Signal(syscall.SIGCONT); err != nil {
						t.Fatal(err)
					}
					close(release)
				} else {
					c.tally.count(1, 0)
				}
				// A leader that finds out that it leads no more ends by itself.
				<-leader.ended
				c.strikeAt(nil, leader)
				c.run(t, leader, flags...)
				leader, standby = standby, leader
			})
		}
	})
	for _, m := range []*member{leader, standby} {
		if err := m.awaitReady(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
}

// killedUnderLoad kills at random moments, counted in what the operator writes, while agents go on asking.
func (c *crasher) killedUnderLoad(t *testing.T) {
	kills, most := 6, 60
	if *thorough {
		kills = 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := c.newMember(t)
	c.run(t, m)
	if err := m.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	enough, failed := make(chan struct{}), make(chan error, 4)
	var agents sync.WaitGroup
	for i := range cap(failed) {
		agents.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				default:
				}
				name := fmt.Sprintf("load-%d-%d", i, n)
				if err := c.live(t, name); err != nil {
					c.tally.hangs(name)
					failed <- err
					return
				}
			}
		})
	}
	for range kills {
		left, after := int64(1+random.IntN(most)), random.IntN(2) == 0
		c.killIn(m, left, after)
		select {
		case <-m.ended:
		case err := <-failed:
			t.Fatal(err)
		}
		c.tally.count(1, 0)
		m.gate.on(nil)
		c.run(t, m)
	}
	close(enough)
	agents.Wait()
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

// killIn kills the member at the so many-th write from now.
func (c *crasher) killIn(m *member, writes int64, after bool) {
	var left atomic.Int64
	left.Store(writes)
	o := m.operator
	m.gate.on(func(step string, _ *http.Request, _ []byte) fate {
		if step == "" || left.Add(-1) != 0 {
			return fate{}
		}
		kill := func(int) { _ = o.kill() } // it has ended, or never will
		if after {
			return fate{then: kill, lose: true}
		}
		kill(0)
		return fate{drop: true}
	})
}

// around describes what belongs to a request: its grant, its Job, and all Pods that the node plays.
func (c *crasher) around(ctx context.Context, request *v1alpha1.CapabilityRequest) string {
	now, grant, job, pods := &v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityGrant{}, &batchv1.Job{}, &corev1.PodList{}
	key := client.ObjectKeyFromObject(request)
	err := errors.Join(c.w.admin.Get(ctx, key, now), c.w.admin.Get(ctx, key, grant), c.w.admin.List(ctx, pods, client.InNamespace(request.Namespace)),
		c.w.admin.Get(ctx, client.ObjectKey{Namespace: request.Namespace, Name: v1alpha1.NamePrefix + request.Name}, job))
	text := fmt.Sprintf("at %s, %v\n%s\n%s\nJob suspended: %v, %+v", time.Now(), err, describe(now), describe(grant), ptr.Deref(job.Spec.Suspend, false), job.Status)
	for i := range pods.Items {
		text += fmt.Sprintf("\nPod %s %s", pods.Items[i].Name, pods.Items[i].Status.Phase)
	}
	return text
}

// live is one life of a request, from creation to removal.
func (c *crasher) live(t *testing.T, name string) error {
	one := *c.journey
	one.T, one.name = t, name
	request, job := one.sampleRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = c.name }), one.sampleJob()
	ctx := t.Context()
	if err := errors.Join(one.agent.Create(ctx, request), one.agent.Create(ctx, job)); err != nil {
		return err
	}
	source, err := c.w.source(request, one.namespace, fields.OneTermEqualSelector("metadata.name", name), "")
	if err != nil {
		return err
	}
	last, err := until(ctx, c.w, request, source, false, func(r *v1alpha1.CapabilityRequest) bool { return r.Status.EndedAt != nil })
	if err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, describe(last), c.around(ctx, request))
	}
	return errors.Join(one.agent.Delete(ctx, request), one.agent.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
}
