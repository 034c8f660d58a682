// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
)

// UnknownFields says in words which fields of a stored Job this program does not know.
func UnknownFields(raw *unstructured.Unstructured) ([]string, error) {
	whole, err := decode(raw)
	return whole.problems, err
}

// decode reads a Job as it is stored.
func decode(raw *unstructured.Unstructured) (wholeJob, error) {
	whole := wholeJob{job: &batchv1.Job{}}
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw.Object, whole.job, true)
	if err == nil {
		return whole, nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return wholeJob{}, fmt.Errorf("reading the Job as it is stored: %w", err)
	}
	for _, unknown := range strict.Errors() {
		field := strings.Trim(strings.TrimPrefix(unknown.Error(), "unknown field "), `"`)
		whole.problems = append(whole.problems, policy.Clip(field, 256)+" is not known to this version of Valetkey; leave it out, or upgrade Valetkey")
	}
	return whole, nil
}

// inputs reads the ConfigMaps that the Job's Pod reads. Of a Job that was started it takes those of the review, for the Pod has copies
// of them; false when the review is of an earlier release and does not list them.
func (o *Observer) inputs(ctx context.Context, found *Observation, in *policy.ReviewInput) (bool, error) {
	names := policy.ConfigMapNames(found.Facts.Job)
	if _, _, started := projection.Started(found.Facts.Job); started {
		review := found.Facts.Request.Status.Review
		if review == nil || len(review.Inputs) != len(names) {
			return false, nil
		}
		in.Copied = append(in.Copied, review.Inputs...)
		return true, nil
	}
	in.ConfigMaps = map[string]*corev1.ConfigMap{}
	if len(names) > policy.MaxInputs {
		return true, nil // The Job is refused for it, and none of them need be read.
	}
	if len(names) == 0 {
		return true, nil
	}
	namespace := found.Facts.Request.Namespace
	err := o.lookups.Do(ctx, namespace, func() error {
		for _, name := range names {
			cm := &corev1.ConfigMap{}
			ok, err := get(ctx, o.Live, client.ObjectKey{Namespace: namespace, Name: name}, cm)
			if err != nil {
				return err
			}
			if ok {
				in.ConfigMaps[name] = cm
			}
		}
		return nil
	})
	return err == nil, err
}
