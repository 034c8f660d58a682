// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package projection_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
)

const (
	grantUID = "0d4c9a9e-6a5c-4f8f-9a76-3f0d6f3b6a11"
	material = "very-secret-material"
)

func grant() *v1alpha1.CapabilityGrant {
	return &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{Name: "publish-pr-184", Namespace: "agents", UID: grantUID},
		Spec: v1alpha1.CapabilityGrantSpec{
			RequestRef: v1alpha1.ObjectReference{Name: "publish-pr-184", UID: "r"},
			Job:        v1alpha1.GrantJob{Name: "valetkey-publish-pr-184", UID: "j", Container: "publish"},
		},
	}
}

func job() *batchv1.Job {
	yes := true
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "valetkey-publish-pr-184", Namespace: "agents", UID: "j", Generation: 3},
		Spec: batchv1.JobSpec{Suspend: &yes, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "kept"}},
			Spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Name: "fetch", Image: "fetch:1.2", Resources: corev1.ResourceRequirements{
					Limits: corev1.ResourceList{"cpu": resource.MustParse("1"), "example.com/gadget": resource.MustParse("1")}}}},
				ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}, {Name: "mirror"}},
				Containers:       []corev1.Container{{Name: "publish", Image: "registry.example.com:5000/publisher:v1@sha256:9f86"}, {Name: "beside", Image: "beside:1"}},
			},
		}},
	}
}

func files(t *testing.T) *provider.Credential {
	return credential(t, provider.CredentialFields{
		Files:    map[string]string{"aws/credentials": material, "aws/config": "[default]\n"},
		Pointers: map[string]string{"AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": v1alpha1.MountPath + "/aws/config"},
	})
}

func variables(t *testing.T) *provider.Credential {
	return credential(t, provider.CredentialFields{
		Variables: map[string]string{"AWS_SECRET_ACCESS_KEY": material, "AWS_ACCESS_KEY_ID": "AKIA"},
		Pointers:  map[string]string{"AWS_ENDPOINT_URL": "http://s3.example.com:80/?a=b"},
	})
}

func credential(t *testing.T, f provider.CredentialFields) *provider.Credential {
	t.Helper()
	f.Secrets = []string{material}
	f.ID, f.ExpiresAt = "AKIA", time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	c, err := provider.NewCredential(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// secret is a grant's, of a quarter of an hour.
func secret(attempt int32, c *provider.Credential) *corev1.Secret {
	issued := time.Date(2026, 7, 1, 11, 0, 0, 0, time.UTC)
	return projection.Secret(grant(), attempt, c, issued, issued.Add(15*time.Minute))
}

func TestASecretIsTheGrantsOwnAndNeverChanges(t *testing.T) {
	yes := true
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "agents", Name: "valetkey-" + grantUID + "-3",
			Labels:          map[string]string{"valetkey.dev/request": "publish-pr-184"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "valetkey.dev/v1alpha1", Kind: "CapabilityGrant", Name: "publish-pr-184", UID: grantUID, Controller: &yes}},
		},
		Type: "valetkey.dev/credential", Immutable: &yes,
		Data: map[string][]byte{"aws.credentials": []byte(material), "aws.config": []byte("[default]\n"), "exec.secrets": []byte(`["` + material + `"]`),
			"exec.terms": []byte(`{"issued":"2026-07-01T11:00:00Z","expires":"2026-07-01T11:15:00Z","variables":{"AWS_CONFIG_FILE":"` + v1alpha1.MountPath + `/aws/config","AWS_REGION":"us-east-1"}}`)},
	}
	if diff := cmp.Diff(want, secret(3, files(t))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	want.Data = map[string][]byte{"AWS_SECRET_ACCESS_KEY": []byte(material), "AWS_ACCESS_KEY_ID": []byte("AKIA"),
		"exec.terms": []byte(`{"issued":"2026-07-01T11:00:00Z","expires":"2026-07-01T11:15:00Z","variables":{"AWS_ENDPOINT_URL":"http://s3.example.com:80/?a=b"}}`)}
	if diff := cmp.Diff(want, secret(3, variables(t))); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

func TestASecretsNameIsNeverUsedTwiceAndFits(t *testing.T) {
	seen := map[string]bool{}
	for _, uid := range []types.UID{grantUID, "1d4c9a9e-6a5c-4f8f-9a76-3f0d6f3b6a11"} {
		for attempt := int32(1); attempt <= 100; attempt++ {
			name := projection.SecretName(uid, attempt)
			if seen[name] {
				t.Errorf("%s is used twice", name)
			}
			if problems := validation.IsDNS1123Label(name); len(problems) > 0 || !strings.HasPrefix(name, "valetkey-"+string(uid)+"-") {
				t.Errorf("%s is no name of the grant's Secret: %v", name, problems)
			}
			seen[name] = true
		}
	}
}

func TestTheTemplateIsToldWhereTheCredentialIsAndNotWhatItIs(t *testing.T) {
	want := map[string]string{
		"valetkey.dev/grant":            grantUID,
		"valetkey.dev/secret":           "valetkey-" + grantUID + "-2",
		"valetkey.dev/container":        "publish",
		"valetkey.dev/files":            "aws.config=aws/config,aws.credentials=aws/credentials,exec.secrets=exec/secrets,exec.terms=exec/terms",
		"valetkey.dev/pointers":         "AWS_CONFIG_FILE=/var/run/secrets/valetkey.dev/aws/config,AWS_REGION=us-east-1",
		"valetkey.dev/variables":        "",
		"valetkey.dev/containers":       "fetch=fetch:1.2,publish=@sha256:9f86,beside=beside:1",
		"valetkey.dev/devices":          "fetch=example.com/gadget",
		"valetkey.dev/pull-secrets":     "registry,mirror",
		"valetkey.dev/inputs":           "scripts=" + projection.CopyName(grantUID, 1) + ",settings=" + projection.CopyName(grantUID, 0),
		"valetkey.dev/deadline-seconds": "899",
	}
	inputs := map[string]string{"settings": projection.CopyName(grantUID, 0), "scripts": projection.CopyName(grantUID, 1)}
	got := projection.Annotations(grant(), job(), 2, files(t), inputs, 899*time.Second+999*time.Millisecond)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(v1alpha1.StartAnnotations())), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("a review would cover what the operator writes (-want +got):\n%s", diff)
	}
	want["valetkey.dev/files"], want["valetkey.dev/variables"] = "exec.terms=exec/terms", "AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY"
	want["valetkey.dev/pointers"] = "AWS_ENDPOINT_URL=http://s3.example.com:80/?a=b"
	want["valetkey.dev/inputs"], want["valetkey.dev/deadline-seconds"] = "", "1"
	got = projection.Annotations(grant(), job(), 2, variables(t), nil, time.Millisecond)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(got), material) {
		t.Error("the template holds the credential")
	}
}

// TestEveryKeyOfTheSecretIsNamedOnce reads the annotations as the admission rule does.
func TestEveryKeyOfTheSecretIsNamedOnce(t *testing.T) {
	for name, c := range map[string]*provider.Credential{"files": files(t), "variables": variables(t)} {
		t.Run(name, func(t *testing.T) {
			notes := projection.Annotations(grant(), job(), 1, c, nil, time.Minute)
			stored := map[string]string{}
			for key, value := range secret(1, c).Data {
				stored[key] = string(value)
			}
			named := map[string]string{}
			for _, pair := range list(notes[v1alpha1.AnnotationFiles]) {
				key, path, _ := strings.Cut(pair, "=")
				named[key] = c.Files()[path]
				if path == v1alpha1.ExecTermsFile { // not the credential's, but the grant's
					named[key] = stored[key]
				}
			}
			for _, key := range list(notes[v1alpha1.AnnotationVariables]) {
				named[key] = c.Variables()[key]
			}
			if !maps.Equal(named, stored) {
				t.Error("what the template names is not what the Secret holds")
			}
			pointers := map[string]string{}
			for _, pair := range list(notes[v1alpha1.AnnotationPointers]) {
				name, value, _ := strings.Cut(pair, "=")
				pointers[name] = value
			}
			if diff := cmp.Diff(c.Pointers(), pointers); diff != "" {
				t.Errorf("pointers (-want +got):\n%s", diff)
			}
		})
	}
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// started is a Job as the API server leaves it after a start patch.
func started(j *batchv1.Job, patch []byte) (*batchv1.Job, error) {
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	after, err := decoded.Apply(before)
	if err != nil {
		return nil, err
	}
	patched := &batchv1.Job{}
	return patched, json.Unmarshal(after, patched)
}

// apply does to a Job what the API server does with a merge patch.
func apply(t *testing.T, j *batchv1.Job, patch []byte) *batchv1.Job {
	t.Helper()
	before, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	after, err := jsonpatch.MergePatch(before, patch)
	if err != nil {
		t.Fatal(err)
	}
	patched := &batchv1.Job{}
	if err := json.Unmarshal(after, patched); err != nil {
		t.Fatal(err)
	}
	return patched
}

func TestTheStartPatchChangesWhatItMustAndNothingElse(t *testing.T) {
	notes := projection.Annotations(grant(), job(), 2, files(t), nil, 90*time.Second)
	patch, err := projection.StartPatch(job(), notes, 90*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want, no, deadline := job(), false, int64(90)
	want.Spec.Suspend, want.Spec.ActiveDeadlineSeconds = &no, &deadline
	maps.Copy(want.Spec.Template.Annotations, notes)
	got, err := started(job(), patch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if uid, secret, ok := projection.Started(got); uid != grantUID || secret != "valetkey-"+grantUID+"-2" || !ok {
		t.Errorf("the patched Job tells of grant %q, Secret %q, %t", uid, secret, ok)
	}
	if strings.Contains(string(patch), material) {
		t.Error("the patch holds the credential")
	}
}

func TestTheStartPatchIsRefusedByAJobThatChanged(t *testing.T) {
	patch, err := projection.StartPatch(job(), projection.Annotations(grant(), job(), 1, files(t), nil, time.Minute), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*batchv1.Job)
		starts bool
	}{
		"as it was":                  {func(*batchv1.Job) {}, true},
		"with another note":          {func(j *batchv1.Job) { j.Annotations, j.ResourceVersion = map[string]string{"x": "1"}, "43" }, true},
		"another of its name":        {func(j *batchv1.Job) { j.UID = "k" }, false},
		"what it would run, changed": {func(j *batchv1.Job) { j.Generation++ }, false},
	} {
		changed := job()
		row.change(changed)
		if _, err := started(changed, patch); (err == nil) != row.starts {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoStartPatchIsMadeWithoutItsGuard(t *testing.T) {
	whole := func() map[string]string { return projection.Annotations(grant(), job(), 1, files(t), nil, time.Minute) }
	tests := map[string]func(*batchv1.Job, map[string]string){
		"no UID":        func(j *batchv1.Job, _ map[string]string) { j.UID = "" },
		"no generation": func(j *batchv1.Job, _ map[string]string) { j.Generation = 0 },
		"no grant":      func(_ *batchv1.Job, n map[string]string) { delete(n, v1alpha1.AnnotationGrant) },
		"no Secret":     func(_ *batchv1.Job, n map[string]string) { delete(n, v1alpha1.AnnotationSecret) },
		"no container":  func(_ *batchv1.Job, n map[string]string) { n[v1alpha1.AnnotationContainer] = "" },
		"no containers": func(_ *batchv1.Job, n map[string]string) { delete(n, v1alpha1.AnnotationContainers) },
		"no deadline":   func(_ *batchv1.Job, n map[string]string) { delete(n, v1alpha1.AnnotationDeadlineSeconds) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			j, notes := job(), whole()
			spoil(j, notes)
			if patch, err := projection.StartPatch(j, notes, time.Minute); err == nil || patch != nil {
				t.Error("the patch was made")
			}
		})
	}
}

func TestTheStopPatchStopsWhateverElseChanged(t *testing.T) {
	running, no := job(), false
	running.Spec.Suspend = &no
	patch := projection.StopPatch(running)
	yes := true
	want := running.DeepCopy()
	want.Spec.Suspend = &yes
	if diff := cmp.Diff(want, apply(t, running, patch)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(string(patch), "resourceVersion") || !strings.Contains(string(patch), `"uid":"j"`) {
		t.Errorf("guarded by something else than the UID alone: %s", patch)
	}
}

func TestAJobThatNoGrantStartedSaysSo(t *testing.T) {
	if uid, secret, ok := projection.Started(job()); uid != "" || secret != "" || ok {
		t.Errorf("got %q, %q, %t", uid, secret, ok)
	}
}

func TestAnnotations_KeepTheShorterDeadline(t *testing.T) {
	for own, want := range map[int64]string{15: "15", 3600: "60"} {
		j := job()
		j.Spec.Template.Spec.ActiveDeadlineSeconds = &own
		if got := projection.Annotations(grant(), j, 1, files(t), nil, time.Minute)[v1alpha1.AnnotationDeadlineSeconds]; got != want {
			t.Errorf("a template with a deadline of %d s gives one of %s s within a minute", own, got)
		}
		patch, err := projection.StartPatch(j, projection.Annotations(grant(), j, 1, files(t), nil, time.Minute), time.Minute)
		if err != nil || !strings.Contains(string(patch), `/spec/activeDeadlineSeconds","value":`+want) {
			t.Errorf("%s, %v", patch, err)
		}
	}
}

func TestCopy_IsTheGrantsOwnAndNeverChanges(t *testing.T) {
	of := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Labels: map[string]string{"a": "b"}, Finalizers: []string{"x"}},
		Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {1}}}
	got := projection.Copy(grant(), projection.CopyName(grantUID, 3), of)
	yes := true
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "valetkey.dev-" + grantUID + "-3", Labels: map[string]string{"valetkey.dev/request": grant().Spec.RequestRef.Name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "valetkey.dev/v1alpha1", Kind: "CapabilityGrant", Name: grant().Name, UID: grantUID, Controller: &yes}}},
		Immutable: &yes, Data: of.Data, BinaryData: of.BinaryData,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrialPod_IsWhatTheJobControllerWouldMakeAndNobodys(t *testing.T) {
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "pr-184"}}
	g.Spec.Job.Name = "valetkey-pr-184"
	template := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelRequest: "pr-184", "team": "web", "job-name": "x",
			"batch.kubernetes.io/job-name": "x", "controller-uid": "y", "batch.kubernetes.io/controller-uid": "y"},
			Annotations: map[string]string{v1alpha1.AnnotationGrant: "x", "note": "y"}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "publish"}}},
	}
	before := template.DeepCopy()
	want := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", GenerateName: "valetkey-pr-184-", Labels: map[string]string{"team": "web"},
		Annotations: map[string]string{"note": "y"}}, Spec: template.Spec}
	if diff := cmp.Diff(want, projection.TrialPod(g, template)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, template); diff != "" {
		t.Errorf("the template was changed: %s", diff)
	}
}
