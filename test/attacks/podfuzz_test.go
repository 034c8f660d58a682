// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/test/podfuzz"
)

var (
	podTime = flag.Duration("podtime", 20*time.Second, "how long TestPodFuzz generates Jobs")
	podSeed = flag.Uint64("podseed", uint64(time.Now().UnixNano()), "the seed of the Jobs that TestPodFuzz generates")
)

// fuzzTTL is what is left of the grants of generated Jobs.
const fuzzTTL = 10 * time.Minute

// fuzzer sends generated Jobs the way that an agent's go: to the API server, past the operator's checks, and as a Pod
// of the job-controller to the API server again.
type fuzzer struct {
	*testing.T
	world     *world
	generator *podfuzz.Generator
	// corpus are Jobs that passed, to be changed further: the first is the least that is valid.
	corpus []map[string]any
	// ends counts how far Jobs came.
	ends map[string]int
	// pods are those of each digest.
	pods map[string]string
}

// TestPodFuzz_WhatPassesIsAsItWasReviewed judges the Pod of each generated Job that nothing refuses.
func TestPodFuzz_WhatPassesIsAsItWasReviewed(t *testing.T) {
	w := newWorld(t.Context(), t)
	document := openAPI(t, w)
	fmt.Printf("-podseed=%d\n", *podSeed)
	generator, err := podfuzz.New(document, *podSeed, podfuzz.Words{
		Image: image, Containers: []string{"publish", "beside", "init"}, Volumes: []string{"v", "w"},
		ConfigMaps: []string{"settings", "kube-root-ca.crt", w.copyName()}, Secrets: []string{w.secret, "ordinary", "valetkey-fuzz"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fuzzer{T: t, world: w, generator: generator, ends: map[string]int{}, pods: map[string]string{}}
	f.corpus = append(f.corpus, w.job0("fuzz").Object["spec"].(map[string]any))
	if end := f.try(t.Context(), f.corpus[0]); end != passed {
		t.Fatalf("the Job that all others are made of: %s", end)
	}
	for begun := time.Now(); time.Since(begun) < *podTime; {
		spec := f.generator.Mutate(f.generator.Pick(f.corpus))
		digests := len(f.pods)
		end := f.try(t.Context(), spec)
		f.ends[end]++
		if len(f.pods) > digests {
			f.corpus = append(f.corpus, spec)
		}
	}
	f.print()
	if f.ends[passed] == 0 {
		t.Error("no Job passed: nothing was judged")
	}
}

func openAPI(t *testing.T, w *world) []byte {
	t.Helper()
	paths, err := kubernetes.NewForConfigOrDie(w.configs[admin]).Discovery().OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	document, err := paths["apis/batch/v1"].Schema(runtime.ContentTypeJSON)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// passed is the end of a Job that nothing refused.
const passed = "passed, and was judged"

// try returns where a Job came to its end.
func (f *fuzzer) try(ctx context.Context, spec map[string]any) string {
	f.Helper()
	sent := f.world.job0("fuzz")
	sent.Object["spec"] = runtime.DeepCopyJSON(spec)
	stored, err := f.world.creating(ctx, agent, normal(sent.Object))
	if err != nil {
		return f.refusal(err, sent)
	}
	problems, err := observe.UnknownFields(stored)
	if err != nil || len(problems) > 0 {
		return "refused by the operator: fields that are not known"
	}
	job := &batchv1.Job{}
	f.must(runtime.DefaultUnstructuredConverter.FromUnstructured(stored.Object, job))
	in := fuzzReview(job)
	if policy.CheckJob(job, in.Request, in.Capability) != nil {
		return "refused by the operator"
	}
	review, risks, err := policy.NewReview(in)
	if err != nil {
		return "refused by the operator: what it reads"
	}
	pod, err := f.start(ctx, stored, job)
	if err != nil {
		return f.podRefusal(err, sent)
	}
	f.judge(sent, pod, review, risks)
	return passed
}

func (f *fuzzer) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// refusal names what refused a Job. What no one is to blame for is a finding.
func (f *fuzzer) refusal(err error, sent *unstructured.Unstructured) string {
	f.Helper()
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "refused by the API"
	case apierrors.IsForbidden(err):
		_, rule, _ := strings.Cut(err.Error(), "ValidatingAdmissionPolicy '")
		rule, _, _ = strings.Cut(rule, "'")
		if strings.Contains(err.Error(), "expression") {
			f.finding(sent, "a rule fails: %v", err)
		}
		return "refused by " + rule
	default:
		f.finding(sent, "the API server fails: %v", err)
		return "failed"
	}
}

// podRefusal names what refused the Pod of a Job that was granted. What Valetkey refuses, it should have refused of the
// Job; what others refuse, such as Pod Security, they may refuse of Pods only.
func (f *fuzzer) podRefusal(err error, sent *unstructured.Unstructured) string {
	f.Helper()
	if !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "AdmissionPolicy") {
		f.finding(sent, "the Job was granted, and its Pod is refused: %v", err)
	}
	return "granted, and its Pod was refused by others"
}

func (f *fuzzer) finding(sent *unstructured.Unstructured, format string, args ...any) {
	f.Helper()
	text, _ := yaml.Marshal(sent.Object["spec"]) // What came from JSON can be written.
	f.Errorf("%s\n%s", fmt.Sprintf(format, args...), text)
}

func fuzzReview(job *batchv1.Job) policy.ReviewInput {
	in := policy.ReviewInput{Job: job, Now: time.Unix(0, 0), Request: &v1alpha1.CapabilityRequest{}, Capability: &v1alpha1.Capability{},
		Provider: &v1alpha1.CapabilityProvider{}, ConfigMaps: map[string]*corev1.ConfigMap{}}
	in.Request.Namespace, in.Request.Name, in.Request.Spec.Container = namespace, "fuzz", "publish"
	in.Request.Spec.Requester.Username = "system:serviceaccount:agents:web-app-bot"
	for _, name := range policy.ConfigMapNames(job) {
		in.ConfigMaps[name] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
	}
	return in
}

// start makes the Pod as the job-controller does once the operator has started the Job.
func (f *fuzzer) start(ctx context.Context, stored *unstructured.Unstructured, job *batchv1.Job) (*unstructured.Unstructured, error) {
	credential, err := provider.NewCredential(provider.CredentialFields{ID: "x", ExpiresAt: time.Unix(1, 0), Files: map[string]string{"token": "x"}, Secrets: []string{"x"}})
	f.must(err)
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{UID: types.UID(f.world.grantUID)}}
	g.Spec.Job.Container = "publish"
	copies := map[string]string{}
	for i, name := range policy.ConfigMapNames(job) {
		copies[name] = projection.CopyName(g.UID, i)
	}
	notes := projection.Annotations(g, job, 1, credential, copies, fuzzTTL)
	spec, _, _ := unstructured.NestedMap(stored.Object, "spec", "template", "spec")
	pod := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetNamespace(namespace)
	pod.SetName("valetkey-fuzz-x")
	// Of the template's metadata the job-controller takes no more than this: GetPodFromTemplate of Kubernetes.
	made := job.Spec.Template.DeepCopy()
	if made.Annotations == nil {
		made.Annotations = map[string]string{}
	}
	maps.Copy(made.Annotations, notes)
	pod.SetAnnotations(made.Annotations)
	pod.SetLabels(made.Labels)
	pod.SetFinalizers(append(made.Finalizers, batchv1.JobTrackingFinalizer))
	pod.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))})
	return f.world.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: dryRun})
}

// judge looks at the Pod, and compares it with that of another Job of the same digest.
func (f *fuzzer) judge(sent, made *unstructured.Unstructured, review v1alpha1.Review, risks []policy.Risk) {
	f.Helper()
	pod, job := &corev1.Pod{}, &batchv1.JobSpec{}
	f.must(runtime.DefaultUnstructuredConverter.FromUnstructured(made.Object, pod))
	f.must(runtime.DefaultUnstructuredConverter.FromUnstructured(sent.Object["spec"].(map[string]any), job))
	accepts := func(a v1alpha1.Acceptance) bool {
		return slices.ContainsFunc(risks, func(r policy.Risk) bool { return r.Needs == a })
	}
	wrong := podfuzz.Judge(pod, podfuzz.Given{
		Container: "publish", Secret: f.world.secret, CopyPrefix: v1alpha1.InputPrefix + f.world.grantUID + "-",
		ServiceAccount: review.Job.ServiceAccountName, Image: review.Job.Image,
		CanChange: accepts(v1alpha1.AcceptMutableInput), OtherImage: accepts(v1alpha1.AcceptOtherImage), Unpinned: accepts(v1alpha1.AcceptUnpinnedImage),
		TTL: fuzzTTL, Grace: v1alpha1.PodGraceSeconds * time.Second,
	})
	for _, w := range wrong {
		f.finding(sent, "%s", w)
	}
	text, err := json.Marshal(pod.Spec)
	f.must(err)
	if other, seen := f.pods[review.Digest]; seen && other != string(text) {
		f.finding(sent, "two Pods have one digest:\n%s\n%s", other, text)
	}
	f.pods[review.Digest] = string(text)
}

func (f *fuzzer) print() {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, end := range slices.Sorted(maps.Keys(f.ends)) {
		_, _ = fmt.Fprintf(out, "%d\t%s\n", f.ends[end], end)
	}
	_ = out.Flush()
}
