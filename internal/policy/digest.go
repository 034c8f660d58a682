// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// digestVersion begins what is hashed. It changes whenever the same inputs would give another digest.
const digestVersion = "valetkey.dev/review/v1\n"

// digested is what is hashed. Maps are encoded in the order of their keys.
type digested struct {
	Request    digestedRequest
	Job        digestedJob
	Capability digestedCapability
	Provider   digestedProvider
	Scope      []string
	Principal  string
	ConfigMaps map[string]v1alpha1.ReviewedInput
}

type digestedRequest struct {
	Namespace, Name string
	UID             types.UID
	Spec            v1alpha1.CapabilityRequestSpec
}

type digestedJob struct {
	Name string
	UID  types.UID
	Spec batchv1.JobSpec
	// Labels are those that policies decide by, but Valetkey's own.
	Labels map[string]string `json:",omitempty"`
}

type digestedCapability struct {
	Name string
	Spec v1alpha1.CapabilitySpec
}

type digestedProvider struct {
	Name string
	Spec v1alpha1.CapabilityProviderSpec
}

// Digest is the SHA-256, in hexadecimal, of all that is reviewed. It stays the same when the operator starts the Job, and changes
// with the request's UID or spec, the Job's UID, spec or labels, the capability, its provider, the scope, the principal, and with each
// ConfigMap that the Pod reads: its UID, its content and, unless it is immutable, its resourceVersion, so that one that was changed
// and changed back is another one. It is empty, which never equals a stored one, if the inputs cannot be encoded.
func Digest(in ReviewInput) string {
	inputs, _ := in.inputs()
	return digestOf(in, inputs)
}

func digestOf(in ReviewInput, inputs []v1alpha1.ReviewedInput) string {
	byName := map[string]v1alpha1.ReviewedInput{}
	for _, input := range inputs {
		byName[input.Name] = input
	}
	encoded, err := json.Marshal(digested{
		Request:    digestedRequest{in.Request.Namespace, in.Request.Name, in.Request.UID, in.Request.Spec},
		Job:        digestedJob{in.Job.Name, in.Job.UID, asCreated(&in.Job.Spec), othersLabels(in.Job)},
		Capability: digestedCapability{in.Capability.Name, in.Capability.Spec},
		Provider:   digestedProvider{in.Provider.Name, in.Provider.Spec},
		Scope:      in.Scope,
		Principal:  in.Principal,
		ConfigMaps: byName,
	})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte(digestVersion), encoded...))
	return hex.EncodeToString(sum[:])
}

// asCreated is a Job's spec without what the hold and the grant write, and without the labels that the API server makes of the Job's
// name and UID.
func asCreated(spec *batchv1.JobSpec) batchv1.JobSpec {
	s := *spec.DeepCopy()
	walk(&s, func(set Setting) bool {
		if set.Field.Written {
			set.Value.SetZero()
		}
		return set.Field.Type == "JobSpec" && set.Field.Name == "template"
	})
	for _, annotation := range v1alpha1.StartAnnotations() {
		delete(s.Template.Annotations, annotation)
	}
	for _, label := range []string{
		batchv1.ControllerUidLabel, batchv1.JobNameLabel, "controller-uid", "job-name",
	} {
		delete(s.Template.Labels, label)
	}
	return s
}
