// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"

	"github.com/distribution/reference"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// AsHeld is a Job as the API server stores it when its requester creates it, as far as a decision depends on that: with the defaults
// of the API and with what the admission rule valetkey-hold-job writes. Whoever decides on a Job that is not stored yet decides on
// this.
func AsHeld(job *batchv1.Job, requester string) *batchv1.Job {
	held := job.DeepCopy()
	held.Annotations = maps.Clone(held.Annotations)
	if held.Annotations == nil {
		held.Annotations = map[string]string{}
	}
	held.Annotations[v1alpha1.AnnotationCreatedBy] = requester
	s := &held.Spec
	if s.Completions == nil && s.Parallelism == nil {
		s.Completions, s.Parallelism = ptr.To[int32](1), ptr.To[int32](1)
	}
	if s.BackoffLimit == nil {
		s.BackoffLimit = ptr.To[int32](6)
	}
	s.Suspend = ptr.To(true)
	s.Template.Spec.EnableServiceLinks = ptr.To(false)
	s.Template.Spec.ActiveDeadlineSeconds = shorter(s.ActiveDeadlineSeconds, s.Template.Spec.ActiveDeadlineSeconds)
	s.ActiveDeadlineSeconds = nil
	for _, list := range [][]corev1.Container{s.Template.Spec.InitContainers, s.Template.Spec.Containers} {
		for i := range list {
			if list[i].ImagePullPolicy == "" {
				list[i].ImagePullPolicy = pulled(list[i].Image)
			}
		}
	}
	return held
}

// pulled is when the API server has an image looked for that nothing is said of.
func pulled(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, is := reference.TagNameOnly(named).(reference.Tagged); is && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// shorter is the shorter of two times; the other one if one is nil.
func shorter(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}
