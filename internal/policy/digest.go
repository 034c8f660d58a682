// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// digestVersion begins what is hashed. It changes whenever the same inputs would give another digest.
const digestVersion = "valetkey.dev/review/v1\n"

// reviewed is what is hashed. Maps are encoded in the order of their keys.
type reviewed struct {
	Request    reviewedRequest
	Job        reviewedJob
	Capability reviewedCapability
	Provider   reviewedProvider
	Scope      []string
	Principal  string
	ConfigMaps map[string]reviewedConfigMap
}

type reviewedRequest struct {
	Namespace, Name string
	UID             types.UID
	Spec            v1alpha1.CapabilityRequestSpec
}

type reviewedJob struct {
	Name string
	UID  types.UID
	Spec batchv1.JobSpec
}

type reviewedCapability struct {
	Name string
	Spec v1alpha1.CapabilitySpec
}

type reviewedProvider struct {
	Name string
	Spec v1alpha1.CapabilityProviderSpec
}

// reviewedConfigMap has the content of an immutable ConfigMap. One that can change, or is not there, is a risk and not covered.
type reviewedConfigMap struct {
	Immutable  bool
	Data       map[string]string
	BinaryData map[string][]byte
}

// Digest is the SHA-256, in hexadecimal, of all that is reviewed. It stays the same when the operator starts the Job, and changes
// with the request's UID or spec, the Job's UID or spec, the capability, its provider, the scope, the principal, and the content
// of each immutable ConfigMap that the Pod uses. It is empty, which never equals a stored one, if the inputs cannot be encoded.
func Digest(in ReviewInput) string {
	encoded, err := json.Marshal(reviewed{
		Request:    reviewedRequest{in.Request.Namespace, in.Request.Name, in.Request.UID, in.Request.Spec},
		Job:        reviewedJob{in.Job.Name, in.Job.UID, asCreated(&in.Job.Spec)},
		Capability: reviewedCapability{in.Capability.Name, in.Capability.Spec},
		Provider:   reviewedProvider{in.Provider.Name, in.Provider.Spec},
		Scope:      in.Scope,
		Principal:  in.Principal,
		ConfigMaps: contents(in),
	})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte(digestVersion), encoded...))
	return hex.EncodeToString(sum[:])
}

// asCreated is a Job's spec without what the start patch writes, and without the labels that the API server makes of the Job's
// name and UID.
func asCreated(spec *batchv1.JobSpec) batchv1.JobSpec {
	s := *spec.DeepCopy()
	s.Suspend, s.ActiveDeadlineSeconds = nil, nil
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

func contents(in ReviewInput) map[string]reviewedConfigMap {
	all := map[string]reviewedConfigMap{}
	for _, name := range ConfigMapNames(in.Job) {
		var content reviewedConfigMap
		if c := in.ConfigMaps[name]; immutable(c) {
			content = contentOf(c)
		}
		all[name] = content
	}
	return all
}

func contentOf(c *corev1.ConfigMap) reviewedConfigMap {
	content := reviewedConfigMap{Immutable: true}
	if len(c.Data) > 0 {
		content.Data = c.Data
	}
	if len(c.BinaryData) > 0 {
		content.BinaryData = c.BinaryData
	}
	return content
}
