// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package projection_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
)

// TestARealAPIServerKeepsThePatchesGuards needs no rule of Valetkey's: what guards a patch is Kubernetes' own.
func TestARealAPIServerKeepsThePatchesGuards(t *testing.T) {
	cluster := clustertest.Start(t, localcluster.Options{Fast: true})
	clients, err := kubernetes.NewForConfig(cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "agents"}}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	jobs := clients.BatchV1().Jobs("agents")

	t.Run("a held Job is started once, and stopped", func(t *testing.T) { expectStartAndStop(t, jobs) })
	t.Run("a Job that changed is not started", func(t *testing.T) { expectNoStartOfAChangedJob(t, jobs) })
	t.Run("another Job of the same name is neither started nor stopped", func(t *testing.T) { expectAnotherJobLeftAlone(t, jobs) })
	t.Run("a grant's Secret is stored and does not change", func(t *testing.T) { expectSecretStored(t, clients) })
}

func create(t *testing.T, jobs batchv1client.JobInterface) *batchv1.Job {
	t.Helper()
	held := job()
	held.ObjectMeta = metav1.ObjectMeta{GenerateName: "valetkey-"}
	held.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	held.Spec.Template.Spec.Containers[0].Image = "registry.example.com/publisher"
	stored, err := jobs.Create(t.Context(), held, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// start sends the start patch for a Job as it was looked at.
func start(t *testing.T, jobs batchv1client.JobInterface, j *batchv1.Job) (*batchv1.Job, error) {
	t.Helper()
	patch, err := projection.StartPatch(j, projection.Annotations(grant(), j, 1, files(t), nil, 90*time.Second), 90*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return jobs.Patch(t.Context(), j.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
}

func expectStartAndStop(t *testing.T, jobs batchv1client.JobInterface) {
	looked := create(t, jobs)
	// Whoever may write its notes does so for ever.
	note := []byte(`{"metadata":{"annotations":{"changed":"since"}}}`)
	if _, err := jobs.Patch(t.Context(), looked.Name, types.MergePatchType, note, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	started, err := start(t, jobs, looked)
	if err != nil {
		t.Fatal(err)
	}
	if uid, secret, ok := projection.Started(started); !ok || uid != grantUID || secret != projection.SecretName(grantUID, 1) {
		t.Errorf("the started Job tells of grant %q, Secret %q", uid, secret)
	}
	if *started.Spec.Suspend || *started.Spec.ActiveDeadlineSeconds != 90 || started.Spec.Template.Annotations["note"] != "kept" {
		t.Errorf("started as %+v", started.Spec)
	}
	stopped, err := jobs.Patch(t.Context(), started.Name, types.MergePatchType, projection.StopPatch(started), metav1.PatchOptions{})
	if err != nil || !*stopped.Spec.Suspend {
		t.Errorf("stopping: %v", err)
	}
}

func expectNoStartOfAChangedJob(t *testing.T, jobs batchv1client.JobInterface) {
	j := create(t, jobs)
	other := []byte(`{"spec":{"template":{"metadata":{"annotations":{"changed":"since"}}}}}`)
	if _, err := jobs.Patch(t.Context(), j.Name, types.MergePatchType, other, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, jobs, j); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want it refused", err)
	}
	if _, err := jobs.Patch(t.Context(), j.Name, types.MergePatchType, projection.StopPatch(j), metav1.PatchOptions{}); err != nil {
		t.Errorf("it cannot be stopped either: %v", err)
	}
}

func expectAnotherJobLeftAlone(t *testing.T, jobs batchv1client.JobInterface) {
	j := create(t, jobs)
	other, err := jobs.Get(t.Context(), j.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other.UID = "6f1d2c3b-0000-4000-8000-000000000000"
	if _, err := start(t, jobs, other); !apierrors.IsInvalid(err) {
		t.Errorf("starting: got %v, want it refused", err)
	}
	if _, err := jobs.Patch(t.Context(), j.Name, types.MergePatchType, projection.StopPatch(other), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("stopping: got %v, want it refused", err)
	}
}

func expectSecretStored(t *testing.T, clients kubernetes.Interface) {
	secrets := clients.CoreV1().Secrets("agents")
	for attempt, content := range map[int32]*provider.Credential{1: files(t), 2: variables(t)} {
		stored, err := secrets.Create(t.Context(), secret(attempt, content), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for key := range stored.Data {
			stored.Data[key] = []byte("changed")
		}
		if _, err := secrets.Update(t.Context(), stored, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("attempt %d: changing it: got %v, want it refused", attempt, err)
		}
	}
}
