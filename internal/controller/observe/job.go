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

// unknownFields finds the fields of the Job that the API server has and this program does not know, because the cluster is newer. A typed
// client drops them, so that neither the check of the Job nor its digest would see them. They are looked for once, before the
// review is written: the Job is frozen from its creation.
func (o *Observer) unknownFields(ctx context.Context, found *Observation) error {
	if found.Facts.Request.Status.Review != nil {
		return nil
	}
	raw := &unstructured.Unstructured{}
	raw.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	key := client.ObjectKeyFromObject(found.Facts.Job)
	if err := o.lookups.Do(ctx, key.Namespace, func() error { return o.Live.Get(ctx, key, raw) }); err != nil {
		return fmt.Errorf("looking up the Job as it is stored: %w", err)
	}
	problems, err := UnknownFields(raw)
	found.Facts.JobProblems = append(found.Facts.JobProblems, problems...)
	return err
}

// UnknownFields says in words which fields of a stored Job this program does not know.
func UnknownFields(raw *unstructured.Unstructured) ([]string, error) {
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw.Object, &batchv1.Job{}, true)
	if err == nil {
		return nil, nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return nil, fmt.Errorf("reading the Job as it is stored: %w", err)
	}
	var problems []string
	for _, unknown := range strict.Errors() {
		field := strings.Trim(strings.TrimPrefix(unknown.Error(), "unknown field "), `"`)
		problems = append(problems, policy.Clip(field, 256)+" is not known to this version of Valetkey; leave it out, or upgrade Valetkey")
	}
	return problems, nil
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
