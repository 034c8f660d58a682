// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/live/livetest"
	"github.com/valetkey/valetkey/internal/policy"
)

// reading is a Job that reads ConfigMaps, and the ConfigMaps, each with so many bytes of data.
func reading(namespace string, many, size int) (*batchv1.Job, []client.Object) {
	job := aJob("1", 1, 0)
	job.Namespace, job.Spec.Suspend = namespace, ptr.To(true)
	job.Spec.Template.Spec.AutomountServiceAccountToken = ptr.To(false)
	var all []client.Object
	for i := range many {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("c", i)},
			Data: map[string]string{"a": strings.Repeat("x", size)}}
		all = append(all, cm)
		job.Spec.Template.Spec.Containers[0].EnvFrom = append(job.Spec.Template.Spec.Containers[0].EnvFrom, corev1.EnvFromSource{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: cm.Name}}})
	}
	return job, all
}

// looksAt is a request's observation, up to the ConfigMaps.
func looksAt(job *batchv1.Job) (*Observation, policy.ReviewInput) {
	request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: "r"}}
	in := policy.ReviewInput{Request: request, Job: job, Capability: &v1alpha1.Capability{}, Provider: &v1alpha1.CapabilityProvider{}}
	return &Observation{Facts: policy.Facts{Request: request, Job: job}}, in
}

// TestInputs_LargeConfigMapsFillNoMemory has requests of several namespaces looked at together, whose Jobs read ConfigMaps that are as
// large as the API server stores.
func TestInputs_LargeConfigMapsFillNoMemory(t *testing.T) {
	const namespaces, each = 4, 8
	var all []client.Object
	var jobs []*batchv1.Job
	for i := range namespaces {
		job, read := reading(fmt.Sprint("ns", i), each, 1000)
		jobs, all = append(jobs, job, job), append(all, read...)
	}
	meter := livetest.NewMeter(livetest.New(t, all...))
	o := &Observer{Live: live.New(meter)}
	var group sync.WaitGroup
	for _, job := range jobs {
		group.Go(func() {
			found, in := looksAt(job)
			if err := o.inputs(t.Context(), found, in); err != nil || found.Review == nil || len(found.Review.Inputs) != each {
				t.Errorf("found %+v; %v", found.Review, err)
			}
		})
	}
	group.Wait()
	if most := meter.MiB(); most > 40 {
		t.Errorf("%d ConfigMaps take %d MiB", len(all), most)
	}
}

// TestInputs_MoreThanAJobMayReadIsNotRead has ConfigMaps of which the first five are too much already.
func TestInputs_MoreThanAJobMayReadIsNotRead(t *testing.T) {
	job, all := reading("agents", policy.MaxInputs, 1<<20-1)
	meter := livetest.NewMeter(livetest.New(t, all...))
	found, in := looksAt(job)
	if err := (&Observer{Live: live.New(meter)}).inputs(t.Context(), found, in); err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(found.Facts.JobProblems, "; "); !strings.Contains(said, "have more than 4194304 bytes") || found.Review != nil {
		t.Errorf("it says %q, and reviews %v", said, found.Review)
	}
	if most := meter.MiB(); most > 16 {
		t.Errorf("they take %d MiB", most)
	}
}

// TestJob_LargeNotesAreNotUnfolded counts what reading a Job takes by and by: as maps, its managedFields alone would take
// many times their size.
func TestJob_LargeNotesAreNotUnfolded(t *testing.T) {
	job := aJob("1", 1, 0)
	o := &Observer{Live: live.New(livetest.New(t, job))}
	key := client.ObjectKeyFromObject(job)
	if _, err := o.readJob(t.Context(), Turn{}, key); err != nil { // what is done once only is done by now
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	whole, err := o.readJob(t.Context(), Turn{}, key)
	runtime.ReadMemStats(&after)
	if err != nil || whole.job.Name != job.Name || whole.job.ManagedFields != nil {
		t.Fatalf("it reads %+v; %v", whole.job, err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 24 {
		t.Errorf("it takes %d MiB", took)
	}
}

// TestAccounts_OfThemTheirNamesAreKept has as many ServiceAccounts as are asked about one by one, each as large as can be.
func TestAccounts_OfThemTheirNamesAreKept(t *testing.T) {
	var all []client.Object
	for i := range 12 {
		all = append(all, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: fmt.Sprint("a", i)}})
	}
	meter := livetest.NewMeter(livetest.New(t, all...))
	o := &Observer{Live: live.New(meter), Answers: NewAnswers(clock.RealClock{})}
	e := &look{Observer: o, namespace: "agents", requester: v1alpha1.Identity{Username: "bot"}}
	subjects, tooMany, err := e.subjects(t.Context())
	if err != nil || tooMany || len(subjects) != 13 {
		t.Errorf("%d subjects, too many: %v; %v", len(subjects), tooMany, err)
	}
	if most := meter.MiB(); most > 10 {
		t.Errorf("they take %d MiB", most)
	}
}

// TestJob_TooLargeATemplateIsNotRead, and the request is refused for it.
func TestJob_TooLargeATemplateIsNotRead(t *testing.T) {
	job := aJob("1", 1, 0)
	for i := range 400 {
		job.Spec.Template.Spec.Containers[0].Env = append(job.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprint("E", i), Value: strings.Repeat("x", 1000)})
	}
	o := &Observer{Live: live.New(livetest.New(t, job))}
	whole, err := o.readJob(t.Context(), Turn{}, client.ObjectKeyFromObject(job))
	if err != nil || whole.size < 400_000 || whole.job.UID != job.UID || whole.job.Name != job.Name {
		t.Fatalf("it reads %d bytes of %+v; %v", whole.size, whole.job, err)
	}
	if pod := whole.job.Spec.Template.Spec; len(pod.Containers) != 0 {
		t.Errorf("it holds %d containers of it", len(pod.Containers))
	}
	d := policy.Evaluate(policy.Facts{Request: &v1alpha1.CapabilityRequest{Spec: v1alpha1.CapabilityRequestSpec{Repo: "web-app", Environment: "preview", Requester: v1alpha1.Identity{Username: "bot"}}},
		Capability: &v1alpha1.Capability{}, Job: whole.job, JobSize: whole.size})
	if d.Verdict != policy.Deny || !strings.Contains(d.Message, "of at most 262144") {
		t.Errorf("%s: %s", d.Verdict, d.Message)
	}
}
