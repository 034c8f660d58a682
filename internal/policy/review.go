// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// What fits the fields of status.review.
const (
	maxNotCovered       = 64
	maxNotCoveredLength = 1024
)

// ReviewInput is all that people decide on.
type ReviewInput struct {
	Request    *v1alpha1.CapabilityRequest
	Job        *batchv1.Job
	Capability *v1alpha1.Capability
	Provider   *v1alpha1.CapabilityProvider
	// Scope is the rendered scope, a line each, in the back end's order.
	Scope []string
	// Principal is what the credential acts as.
	Principal string
	// ConfigMaps are those of [ConfigMapNames], by name; nil, or absent, if there is none of that name.
	ConfigMaps map[string]*corev1.ConfigMap
	// Now is when the review is made. The digest does not depend on it.
	Now time.Time
}

// NewReview makes the review that is written into a request's status once, and finds the risks that a policy must accept. It
// is to be stored only if the Job passes [CheckJob], which [Evaluate] asks: a Job that does not may not fit into it.
func NewReview(in ReviewInput) (v1alpha1.Review, []Risk) {
	pod := &in.Job.Spec.Template.Spec
	job := v1alpha1.ReviewedJob{
		Name: in.Job.Name, UID: string(in.Job.UID), Container: in.Request.Spec.Container,
		ServiceAccountName: serviceAccountName(pod),
	}
	for _, c := range containers(pod) {
		if c.Name == in.Request.Spec.Container {
			job.Image, job.Command, job.Args = c.Image, slices.Clone(c.Command), slices.Clone(c.Args)
			continue
		}
		job.OtherContainers = append(job.OtherContainers, c.Name+"="+c.Image)
	}
	found := findRisks(pod, in.ConfigMaps)
	return v1alpha1.Review{
		Digest: Digest(in),
		At:     metav1.NewTime(in.Now),
		Job:    job,
		Capability: v1alpha1.ReviewedCapability{
			Name: in.Capability.Name, Description: in.Capability.Spec.Description,
			Provider: in.Provider.Name, Principal: in.Principal,
		},
		Scope:      slices.Clone(in.Scope),
		TTLSeconds: TTL(in.Request, in.Capability),
		NotCovered: notCovered(found),
	}, found
}

// notCovered says how many more there are when not all fit.
func notCovered(all []Risk) []string {
	var lines []string
	for i, r := range all {
		if i == maxNotCovered-1 && len(all) > maxNotCovered {
			return append(lines, fmt.Sprintf("and %d more", len(all)-i))
		}
		lines = append(lines, Clip(r.Message, maxNotCoveredLength))
	}
	return lines
}

// pinned reports whether an image is named by digest.
func pinned(image string) bool {
	name, digest, found := strings.Cut(image, "@sha256:")
	return found && name != "" && len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
}

// risks collects risks, each once.
type risks []Risk

func (r *risks) add(needs v1alpha1.Acceptance, format string, args ...any) {
	risk := Risk{Needs: needs, Message: fmt.Sprintf(format, args...)}
	if !slices.Contains(*r, risk) {
		*r = append(*r, risk)
	}
}

func findRisks(pod *corev1.PodSpec, configMaps map[string]*corev1.ConfigMap) []Risk {
	var found risks
	for _, c := range containers(pod) {
		if !pinned(c.Image) {
			found.add(v1alpha1.AcceptUnpinnedImage, "the image %s of container %s is not named by digest", c.Image, c.Name)
		}
	}
	for _, in := range inputs(pod) {
		switch {
		case in.other != "":
			found.add(v1alpha1.AcceptMutableInput, "%s is %s, which can change", in.where, in.other)
		case configMaps[in.configMap] == nil:
			found.add(v1alpha1.AcceptMutableInput, "%s is ConfigMap %s, which does not exist", in.where, in.configMap)
		case !immutable(configMaps[in.configMap]):
			found.add(v1alpha1.AcceptMutableInput, "%s is ConfigMap %s, which is not both immutable and labelled %s=true", in.where, in.configMap, v1alpha1.LabelInput)
		}
	}
	return found
}

// immutable means that neither its content nor its place can be taken while grants live: one that is not labelled can be deleted
// and made again.
func immutable(c *corev1.ConfigMap) bool {
	return c != nil && c.Immutable != nil && *c.Immutable && c.Labels[v1alpha1.LabelInput] == "true"
}

// ConfigMapNames are all ConfigMaps that a Job's Pod uses, in volumes and in variables of all its containers, sorted.
func ConfigMapNames(job *batchv1.Job) []string {
	var names []string
	for _, in := range inputs(&job.Spec.Template.Spec) {
		if in.configMap != "" {
			names = append(names, in.configMap)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Changed says what differs between what was reviewed and what is there now, of which only the digest is known to differ.
func Changed(was, is *v1alpha1.Review) string {
	var changes []string
	differs := func(what, before, now string) {
		if before != now {
			changes = append(changes, fmt.Sprintf("%s is %s and was %s", what, now, before))
		}
	}
	if was.Job.UID != is.Job.UID {
		changes = append(changes, "the Job is another one of the same name")
	}
	differs("the provider", was.Capability.Provider, is.Capability.Provider)
	differs("the principal", was.Capability.Principal, is.Capability.Principal)
	differs("the scope", strings.Join(was.Scope, " and "), strings.Join(is.Scope, " and "))
	differs("ttlSeconds", fmt.Sprint(was.TTLSeconds), fmt.Sprint(is.TTLSeconds))
	if len(changes) == 0 {
		return "the Job's template, or a field of the capability or of its provider, or a ConfigMap"
	}
	return Clip(strings.Join(changes, "; "), maxMessageLength)
}
