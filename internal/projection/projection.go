// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package projection knows what a grant's Secret holds, and what the Job's template is told about it. The admission rule
// valetkey-project makes the Pod of that.
package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/delivery"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
)

// SecretName is never used twice: a Secret that is created again under a name appears inside a Pod that outlived its deletion.
func SecretName(grant types.UID, attempt int32) string {
	return fmt.Sprintf("%s%s-%d", v1alpha1.NamePrefix, grant, attempt)
}

// Secret holds a credential that was issued for a grant, which is over when it expires. The grant owns it by UID, so
// that one that is created after the grant is gone goes too.
func Secret(g *v1alpha1.CapabilityGrant, attempt int32, c *provider.Credential, issued, expires time.Time) *corev1.Secret {
	yes := true
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: SecretName(g.UID, attempt),
			Labels: map[string]string{v1alpha1.LabelRequest: g.Spec.RequestRef.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "CapabilityGrant", Name: g.Name, UID: g.UID, Controller: &yes,
			}},
		},
		Type: v1alpha1.SecretType, Immutable: &yes, Data: map[string][]byte{},
	}
	for path, content := range c.Files() {
		secret.Data[fileKey(path)] = []byte(content)
	}
	terms := delivery.Terms{Issued: issued, Expires: expires, Variables: c.Pointers()}
	secret.Data[fileKey(v1alpha1.ExecTermsFile)] = terms.Encode()
	for name, value := range c.Variables() {
		secret.Data[name] = []byte(value)
	}
	return secret
}

// fileKey is the key of a file: a Secret's keys have no slashes, and a credential's paths no dots. A path is of lower case and a
// variable of upper case, so that no two are the same key.
func fileKey(path string) string { return strings.ReplaceAll(path, "/", ".") }

// CopyName is the name of the copy that a grant makes of one of the ConfigMaps that its Job's Pod reads. It is never used for another
// content: the kubelet may remember what it once read under a name.
func CopyName(grant types.UID, number int) string {
	return fmt.Sprintf("%s%s-%d", v1alpha1.InputPrefix, grant, number)
}

// Copy holds what a ConfigMap holds, under a name of the grant's own.
func Copy(g *v1alpha1.CapabilityGrant, name string, of *corev1.ConfigMap) *corev1.ConfigMap {
	yes := true
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelRequest: g.Spec.RequestRef.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "CapabilityGrant", Name: g.Name, UID: g.UID, Controller: &yes,
			}},
		},
		Immutable: &yes, Data: of.Data, BinaryData: of.BinaryData,
	}
}

// Annotations are what the Job's template is told: nothing of it is secret. inputs are the copies of the ConfigMaps that the Pod reads, by
// the names that the Job has for them. left is the time until the TTL is over; a Pod whose template has a shorter deadline keeps that.
func Annotations(g *v1alpha1.CapabilityGrant, job *batchv1.Job, attempt int32, c *provider.Credential, inputs map[string]string,
	left time.Duration) map[string]string {
	// The terms are a file of every credential's, also of one that is delivered in variables: a kubelet starts no container
	// of a Pod before its volumes are there, so that a Pod which is made after the Secret was deleted runs nothing.
	files := map[string]string{fileKey(v1alpha1.ExecTermsFile): v1alpha1.ExecTermsFile}
	for path := range c.Files() {
		files[fileKey(path)] = path
	}
	return map[string]string{
		v1alpha1.AnnotationGrant:           string(g.UID),
		v1alpha1.AnnotationSecret:          SecretName(g.UID, attempt),
		v1alpha1.AnnotationContainer:       g.Spec.Job.Container,
		v1alpha1.AnnotationFiles:           pairs(files),
		v1alpha1.AnnotationPointers:        pairs(pointers(g, c)),
		v1alpha1.AnnotationVariables:       strings.Join(slices.Sorted(maps.Keys(c.Variables())), ","),
		v1alpha1.AnnotationContainers:      containers(&job.Spec.Template.Spec),
		v1alpha1.AnnotationDevices:         strings.Join(policy.Devices(&job.Spec.Template.Spec), ","),
		v1alpha1.AnnotationPullSecrets:     strings.Join(policy.PullSecrets(&job.Spec.Template.Spec), ","),
		v1alpha1.AnnotationInputs:          pairs(inputs),
		v1alpha1.AnnotationDeadlineSeconds: strconv.FormatInt(deadline(job, left), 10),
	}
}

// pointers are the credential's, and when the grant is over.
func pointers(g *v1alpha1.CapabilityGrant, c *provider.Credential) map[string]string {
	all := c.Pointers()
	if all == nil {
		all = map[string]string{}
	}
	if g.Status.ExpiresAt != nil {
		all[v1alpha1.ExecExpiresVariable] = g.Status.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return all
}

// containers are a Pod's containers as [v1alpha1.AnnotationContainers] has them. The same digest from a mirror is the same image.
func containers(pod *corev1.PodSpec) string {
	list := make([]string, 0, len(pod.InitContainers)+len(pod.Containers))
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		image := c.Image
		if at := strings.Index(image, "@"); at >= 0 {
			image = image[at:]
		}
		list = append(list, c.Name+"="+image)
	}
	return strings.Join(list, ",")
}

func pairs(values map[string]string) string {
	list := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+values[name])
	}
	return strings.Join(list, ",")
}

// deadline is the shorter of what is left of the TTL and the deadline that the Job's template has, in seconds.
func deadline(job *batchv1.Job, left time.Duration) int64 {
	if own := job.Spec.Template.Spec.ActiveDeadlineSeconds; own != nil {
		return min(seconds(left), *own)
	}
	return seconds(left)
}

// seconds rounds down: a Pod never outlives its TTL by rounding.
func seconds(left time.Duration) int64 { return max(int64(left/time.Second), 1) }

// StartPatch is the one JSON patch (RFC 6902) that starts a Job, guarded by its UID and its generation: whoever changed
// what it would run, or deleted it, since it was looked at makes the API server refuse it as invalid. What moves beside
// that, such as its annotations, does not: an administrator of the namespace can write those for ever. Without the guard,
// or without the whole of [Annotations], no patch is made.
func StartPatch(job *batchv1.Job, annotations map[string]string, left time.Duration) ([]byte, error) {
	if job.UID == "" || job.Generation == 0 {
		return nil, errors.New("a Job is started only as it was looked at: its UID and generation are needed")
	}
	for _, name := range needed() {
		if annotations[name] == "" {
			return nil, fmt.Errorf("a Job is not started without the annotation %s", name)
		}
	}
	notes := maps.Clone(annotations)
	for key, value := range job.Spec.Template.Annotations {
		if _, ours := notes[key]; !ours {
			notes[key] = value
		}
	}
	return json.Marshal([]operation{
		{"test", "/metadata/uid", job.UID},
		{"test", "/metadata/generation", job.Generation},
		{"replace", "/spec/suspend", false},
		{"add", "/spec/activeDeadlineSeconds", deadline(job, left)},
		{"add", "/spec/template/metadata/annotations", notes},
	})
}

// operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// TrialPod is the Pod of a grant's Job, for a dry run: as the job-controller would make it, without the labels that
// make it the Job's own, and without a credential. Nobody but the job-controller makes Pods with Valetkey's names on them.
func TrialPod(g *v1alpha1.CapabilityGrant, template *corev1.PodTemplateSpec) *corev1.Pod {
	template = template.DeepCopy()
	theirs := func(key, _ string) bool {
		return strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") || strings.HasPrefix(key, "batch.kubernetes.io/") ||
			key == "job-name" || key == "controller-uid"
	}
	maps.DeleteFunc(template.Labels, theirs)
	maps.DeleteFunc(template.Annotations, theirs)
	return &corev1.Pod{Spec: template.Spec, ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, GenerateName: g.Spec.Job.Name + "-",
		Labels: template.Labels, Annotations: template.Annotations}}
}

// needed are the annotations that are never empty. A credential has files or variables, and may have no pointers.
func needed() []string {
	return []string{v1alpha1.AnnotationGrant, v1alpha1.AnnotationSecret, v1alpha1.AnnotationContainer, v1alpha1.AnnotationContainers,
		v1alpha1.AnnotationDeadlineSeconds}
}

// StopPatch is the JSON merge patch that stops a Job, whatever else changed about it: it is guarded by the UID alone, so that
// nobody can hold it off by changing the Job again and again. The API server refuses it as invalid for another Job of that name.
func StopPatch(job *batchv1.Job) []byte {
	uid, _ := json.Marshal(job.UID) // a string can always be encoded
	return fmt.Appendf(nil, `{"metadata":{"uid":%s},"spec":{"suspend":true}}`, uid)
}

// Started reads from a Job's template which grant started it, with which Secret; false when none did.
func Started(job *batchv1.Job) (types.UID, string, bool) {
	note := job.Spec.Template.Annotations
	grant := note[v1alpha1.AnnotationGrant]
	return types.UID(grant), note[v1alpha1.AnnotationSecret], grant != ""
}
