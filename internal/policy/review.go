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
	"github.com/valetkey/valetkey/internal/visible"
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
	// Copied are the inputs of a stored review of which the grant has made copies: what became of the ConfigMaps themselves does not
	// matter any more, and they are not looked at.
	Copied []v1alpha1.ReviewedInput
	// Now is when the review is made. The digest does not depend on it.
	Now time.Time
}

// NewReview makes the review that is written into a request's status once. It also finds the risks that a policy must accept, and
// says in the error which inputs the Pod could not start with. The review is to be stored only if there is no error and the Job passes
// [CheckJob], which [Evaluate] asks: a Job that does not may not fit into it.
func NewReview(in ReviewInput) (v1alpha1.Review, []Risk, error) {
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
	found := findRisks(in)
	inputs, problems := in.inputs()
	return v1alpha1.Review{
		Digest: digestOf(in, inputs),
		Inputs: inputs,
		At:     metav1.NewTime(in.Now),
		Job:    job,
		Capability: v1alpha1.ReviewedCapability{
			Name: in.Capability.Name, Description: in.Capability.Spec.Description,
			Provider: in.Provider.Name, Principal: in.Principal,
		},
		Scope:      slices.Clone(in.Scope),
		TTLSeconds: TTL(in.Request, in.Capability),
		NotCovered: notCovered(found),
	}, found, append(problems, in.otherCredentials()...).err()
}

// inputs are the ConfigMaps that the Pod reads, and what is wrong with them.
func (in ReviewInput) inputs() ([]v1alpha1.ReviewedInput, findings) {
	if in.Copied != nil {
		return in.Copied, nil
	}
	return reviewInputs(in.Job, in.ConfigMaps)
}

// notCovered lists what can change after the approval, and says how many more there are when not all fit.
func notCovered(found []Risk) []string {
	var all, lines []string
	for _, r := range found {
		if r.Needs == v1alpha1.AcceptUnpinnedImage || r.Needs == v1alpha1.AcceptMutableInput {
			all = append(all, r.Message)
		}
	}
	for i, message := range all {
		if i == maxNotCovered-1 && len(all) > maxNotCovered {
			return append(lines, fmt.Sprintf("and %d more", len(all)-i))
		}
		lines = append(lines, Clip(message, maxNotCoveredLength))
	}
	return lines
}

// pinned reports whether an image is named by digest.
func pinned(image string) bool {
	name, digest, found := strings.Cut(image, "@sha256:")
	return found && name != "" && len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
}

// risks collects risks, each once.
type risks struct {
	all  []Risk
	have map[Risk]bool
}

func (r *risks) add(needs v1alpha1.Acceptance, format string, args ...any) {
	risk := Risk{Needs: needs, Message: fmt.Sprintf(format, args...)}
	if r.have[risk] {
		return
	}
	if r.have == nil {
		r.have = map[Risk]bool{}
	}
	r.have[risk] = true
	r.all = append(r.all, risk)
}

func findRisks(in ReviewInput) []Risk {
	pod := &in.Job.Spec.Template.Spec
	var found risks
	for _, c := range containers(pod) {
		if !pinned(c.Image) {
			found.add(v1alpha1.AcceptUnpinnedImage, "the image %s of container %s is not named by digest", visible.Name(c.Image), c.Name)
		}
	}
	for _, s := range sources(&in.Job.Spec) {
		if s.other != "" {
			found.add(v1alpha1.AcceptMutableInput, "%s is %s, which can change", s.where, s.other)
		}
	}
	if words := lateStarts(in); words != "" {
		found.add(v1alpha1.AcceptOtherImage, "%s", words)
	}
	for _, c := range lateImages(in) {
		found.add(v1alpha1.AcceptOtherImage, "the image of container %s may be pulled while the step runs, and while the node pulls it, nothing "+
			"ends the step in time; write the very image of container %s, letter by letter, or one that capability %s lists and an init "+
			"container or a sidecar has, do not always pull it, and use no imagePullSecrets", c.Name, in.Request.Spec.Container, in.Capability.Name)
	}
	for _, v := range lateVolumes(in) {
		found.add(v1alpha1.AcceptOtherImage, "the image of volume %s may be pulled while the step runs, and while the node pulls it, nothing "+
			"ends the step in time; mount it into container %s, too, do not always pull it, and use no imagePullSecrets", v.Name,
			in.Request.Spec.Container)
	}
	return found.all
}

// isMounted reports whether one of the containers mounts a volume.
func isMounted(v corev1.Volume, by []corev1.Container) bool {
	return slices.ContainsFunc(by, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
	})
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
	for _, now := range is.Inputs {
		at := slices.IndexFunc(was.Inputs, func(in v1alpha1.ReviewedInput) bool { return in.Name == now.Name })
		if at >= 0 && was.Inputs[at] != now {
			changes = append(changes, fmt.Sprintf("ConfigMap %s was changed, or made again", now.Name))
		}
	}
	if len(changes) == 0 {
		return "the Job's template, or a field of the capability or of its provider"
	}
	return Clip(strings.Join(changes, "; "), maxMessageLength)
}
