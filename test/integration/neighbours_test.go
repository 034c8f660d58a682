// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// gated is a journey whose operator talks to the API server through a gate. Its namespace is enrolled, and its
// policy is for every account of it.
func gated(t *testing.T, name string) (*journey, *gate) {
	t.Helper()
	j := alone(t, name, nil)
	g := j.w.apiGate(t)
	o, err := j.w.start(exec.Command(j.w.manager), g.kubeconfig(t, j.w), t.TempDir())
	j.must(err)
	t.Cleanup(func() {
		if err := o.stop(); err != nil {
			t.Error(err)
		}
	})
	j.operator = o
	j.must(o.awaitReady(t.Context()))
	j.enrol(name)
	j.allow(everyAccount)
	return j, g
}

func everyAccount(p *v1alpha1.CapabilityPolicySpec) {
	p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "system:serviceaccounts"}}
}

// agents makes accounts that may ask.
func (j *journey) agents(n int) []client.Client {
	j.Helper()
	all := make([]client.Client, n)
	for i := range all {
		name := fmt.Sprintf("agent-%d", i)
		j.must(j.w.admin.Create(j.Context(), &corev1.ServiceAccount{ObjectMeta: j.meta(name)}))
		j.must(
			j.w.admin.Create(
				j.Context(),
				&rbacv1.RoleBinding{
					ObjectMeta: j.meta(name),
					Subjects:   []rbacv1.Subject{serviceAccount(j.namespace, name)},
					RoleRef: rbacv1.RoleRef{
						APIGroup: rbacv1.GroupName,
						Kind:     "ClusterRole",
						Name:     "valetkey-requester",
					},
				},
			),
		)
		all[i] = j.account(name)
	}
	return all
}

// delivers asks as somebody, and returns how long it took until the Job was started.
func (j *journey) delivers(who client.Client, name string, edits ...func(*batchv1.Job)) time.Duration {
	j.Helper()
	one := *j
	one.name, one.agent = name, who
	request := one.sampleRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = j.name })
	began := time.Now()
	j.must(one.agent.Create(j.Context(), request))
	one.job(edits...)
	one.awaitDelivered()
	return time.Since(began)
}

// figures are those of some durations that people compare. Of fewer than a hundred the longest is also p99.
type figures struct{ p50, p99 time.Duration }

func figuresOf(all []time.Duration) figures {
	sorted := slices.Sorted(slices.Values(all))
	at := func(share float64) time.Duration { return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))] }
	return figures{at(0.5), at(0.99)}
}

func (f figures) String() string {
	return fmt.Sprintf("p50 %s, p99 %s", f.p50.Round(time.Millisecond), f.p99.Round(time.Millisecond))
}

// TestExposure_AGrantAmongManyAccountsCostsOneQuestion has ten accounts of a namespace with five hundred ask, each
// once, and counts what the operator asks about whom.
func TestExposure_AGrantAmongManyAccountsCostsOneQuestion(t *testing.T) {
	const grants, accounts = 10, 500
	j, g := gated(t, "many-accounts")
	agents := j.agents(2 * grants)
	var mu sync.Mutex
	asked := map[string]int{}
	g.on(func(_ string, r *http.Request, _ []byte) fate {
		mu.Lock()
		defer mu.Unlock()
		for _, what := range []string{"subjectaccessreviews", "selfsubjectrulesreviews", "serviceaccounts"} {
			if strings.HasSuffix(r.URL.Path, "/"+what) {
				asked[what]++
			}
		}
		return fate{}
	})
	round := func(name string, agents []client.Client) (took []time.Duration) {
		for i, agent := range agents {
			took = append(took, j.delivers(agent, fmt.Sprintf("%s-%d", name, i)))
		}
		return took
	}
	j.delivers(agents[0], "warm")
	few := figuresOf(round("few", agents[:grants]))
	var group errgroup.Group
	group.SetLimit(16)
	for i := range accounts {
		group.Go(func() error {
			return j.w.admin.Create(
				t.Context(),
				&corev1.ServiceAccount{ObjectMeta: j.meta(fmt.Sprintf("account-%d", i))},
			)
		})
	}
	j.must(group.Wait())
	clear(asked)
	began := time.Now()
	many := figuresOf(round("many", agents[grants:]))
	minutes := int(time.Since(began)/time.Minute) + 1
	fmt.Printf(
		"from asking to delivery: %s with %d accounts in the namespace, %s with %d; of the latter the operator asked %v\n",
		few,
		2*grants,
		many,
		accounts,
		asked,
	)
	// What shows that RBAC alone authorizes is asked anew each minute.
	if asked["subjectaccessreviews"] > grants+minutes || asked["selfsubjectrulesreviews"] > minutes ||
		asked["serviceaccounts"] > 0 {
		t.Errorf("for %d grants in %d minutes, it asked %v", grants, minutes, asked)
	}
}

// TestFairness_ABusyNamespaceSlowsNoOther has one namespace ask hundreds of times, with Jobs of many ConfigMaps,
// while another asks one by one.
func TestFairness_ABusyNamespaceSlowsNoOther(t *testing.T) {
	// The sample's own Job reads one, too.
	requests, configMaps, samples := 300, policy.MaxInputs-1, 20
	if *thorough {
		requests = 3000
	}
	j, g := gated(t, "neighbour")
	busy := *j
	busy.enrol("busy")
	busy.must(busy.configMaps(configMaps))
	allowed := busy.policy(
		everyAccount,
		byAlice,
		func(p *v1alpha1.CapabilityPolicySpec) { p.Environments = []string{"busy"} },
	)
	allowed.Name = "busy"
	busy.store(allowed)
	measure := func(name string) (took []time.Duration) {
		for i := range samples {
			took = append(took, j.delivers(j.agent, fmt.Sprintf("%s-%d", name, i)))
		}
		return took
	}
	j.delivers(j.agent, "warm")
	alone := figuresOf(measure("alone"))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range requests {
		group.Go(func() error { return busy.asksMuch(t.Context(), fmt.Sprintf("busy-%d", i), configMaps) })
	}
	j.must(group.Wait())
	var reads atomic.Int32
	g.on(func(_ string, r *http.Request, _ []byte) fate {
		if strings.Contains(r.URL.Path, "/namespaces/busy/configmaps/") {
			reads.Add(1)
		}
		return fate{}
	})
	before, began := busy.reviewed(), time.Now()
	beside := figuresOf(measure("beside"))
	after, took := busy.reviewed(), time.Since(began).Seconds()
	fmt.Printf(
		"from asking to delivery: %s alone; %s beside %d requests with %d ConfigMaps each, of which %d were reviewed before and %d after, with %.0f ConfigMaps read a second\n",
		alone,
		beside,
		requests,
		configMaps,
		before,
		after,
		float64(reads.Load())/took,
	)
	if after == requests {
		t.Error("the busy namespace was at rest before the end")
	}
	// First come, first served, the first would wait for all of the busy namespace's.
	if beside.p50 > 3*alone.p50 || beside.p99 > 10*alone.p50 && beside.p99 > 3*alone.p99 {
		t.Errorf("beside a busy namespace it takes %s, alone %s", beside, alone)
	}
}

// configMaps makes some that Jobs can name.
func (j *journey) configMaps(n int) error {
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error {
			return j.w.admin.Create(
				j.Context(),
				&corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: j.namespace, Name: fmt.Sprintf("input-%d", i)},
					Data:       map[string]string{"x": "y"},
				},
			)
		})
	}
	return group.Wait()
}

// asksMuch asks for something that waits for an approval, with a Job that uses many ConfigMaps.
func (j *journey) asksMuch(ctx context.Context, name string, configMaps int) error {
	one := *j
	one.name = name
	request, job := one.sampleRequest(
		func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = "busy" },
	), one.sampleJob()
	sources := make([]corev1.VolumeProjection, configMaps)
	for i := range sources {
		sources[i].ConfigMap = &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("input-%d", i)},
			Items:                []corev1.KeyToPath{{Key: "x", Path: fmt.Sprint(i)}},
		}
	}
	pod := &job.Spec.Template.Spec
	pod.Volumes = append(
		pod.Volumes,
		corev1.Volume{
			Name:         "inputs",
			VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}},
		},
	)
	if err := one.agent.Create(ctx, request); err != nil {
		return err
	}
	return one.agent.Create(ctx, job)
}

// reviewed counts the requests of the namespace that have a review.
func (j *journey) reviewed() int {
	j.Helper()
	list := &v1alpha1.CapabilityRequestList{}
	j.must(j.w.admin.List(j.Context(), list, client.InNamespace(j.namespace)))
	n := 0
	for i := range list.Items {
		if list.Items[i].Status.Review != nil {
			n++
		}
	}
	return n
}
