// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
)

// storedJob is a Job that is read as it is stored. It counts as unstructured, so that clients ask for its JSON, but what is read is
// never kept as maps: metadata.managedFields alone, which others may fill, would take many times its size.
type storedJob struct {
	unstructured.Unstructured
	whole wholeJob
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *storedJob) UnmarshalJSON(text []byte) (err error) {
	s.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	s.whole, err = decode(text)
	return err
}

// UnknownFields says in words which fields of a stored Job this program does not know.
func UnknownFields(raw *unstructured.Unstructured) ([]string, error) {
	text, err := raw.MarshalJSON()
	if err != nil {
		return nil, err
	}
	whole, err := decode(text)
	return whole.problems, err
}

// decode reads a Job as it is stored. Of one whose template is too large it reads no more than that: it is refused, and whoever looks at
// requests would hold it in memory, many times as large, while it waits for its turn.
func decode(text []byte) (wholeJob, error) {
	whole := wholeJob{job: &batchv1.Job{}}
	size, err := templateSize(text)
	if err != nil {
		return wholeJob{}, fmt.Errorf("reading the Job as it is stored: %w", err)
	}
	if size > policy.MaxJobSize {
		large := struct {
			Metadata *metav1.ObjectMeta `json:"metadata"`
		}{&whole.job.ObjectMeta}
		err := json.Unmarshal(text, &large)
		whole.job.ManagedFields, whole.size = nil, size
		return whole, err
	}
	strict, err := kjson.UnmarshalStrict(text, whole.job, kjson.DisallowUnknownFields)
	if err != nil {
		return wholeJob{}, fmt.Errorf("reading the Job as it is stored: %w", err)
	}
	whole.job.ManagedFields = nil
	for _, unknown := range strict {
		field := strings.Trim(strings.TrimPrefix(unknown.Error(), "unknown field "), `"`)
		whole.problems = append(whole.problems, policy.Clip(field, 256)+" is not known to this version of Valetkey; leave it out, or upgrade Valetkey")
	}
	return whole, nil
}

// templateSize is how many bytes a Job's template has in the Job's JSON.
func templateSize(text []byte) (int, error) {
	var job struct {
		Spec struct {
			Template json.RawMessage `json:"template"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &job)
	return len(job.Spec.Template), err
}

// inputs reads the ConfigMaps that the Job's Pod reads, and makes the review of them. Of a Job that was started it takes those of the
// stored review, for the Pod has copies of them; there is no review when that one is of an earlier release and does not list them.
func (o *Observer) inputs(ctx context.Context, found *Observation, in policy.ReviewInput) error {
	names := policy.ConfigMapNames(found.Facts.Job)
	if _, _, started := projection.Started(found.Facts.Job); started {
		if review := found.Facts.Request.Status.Review; review != nil && len(review.Inputs) == len(names) {
			in.Copied = append(in.Copied, review.Inputs...)
			return o.reviewOf(ctx, found, in)
		}
		return nil
	}
	in.ConfigMaps = map[string]*corev1.ConfigMap{}
	if len(names) == 0 || len(names) > policy.MaxInputs { // of too many, for which the Job is refused, none need be read
		return o.reviewOf(ctx, found, in)
	}
	namespace := found.Facts.Request.Namespace
	return o.lookups.Do(ctx, turnOf(found.Facts.Request), func() error {
		return o.Live.Group(ctx, namespace, min(len(names), inputsRoom)+1, func(from client.Reader) error {
			return o.readInputs(ctx, found, from, names, in)
		})
	})
}

// inputsRoom is how many objects of the largest size are as large as policy.MaxInputSize, with what it takes to sum them.
const inputsRoom = 5

// readInputs reads ConfigMaps one after another. The Job is refused for more than policy.MaxInputSize, so that the rest of them
// need not be read. Their content goes as soon as the review has its digests.
func (o *Observer) readInputs(ctx context.Context, found *Observation, from client.Reader, names []string, in policy.ReviewInput) error {
	size := 0
	for _, name := range names {
		cm := &corev1.ConfigMap{}
		ok, err := get(ctx, from, client.ObjectKey{Namespace: found.Facts.Request.Namespace, Name: name}, cm)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if size += policy.ContentSize(cm); size > policy.MaxInputSize {
			found.Facts.JobProblems = append(found.Facts.JobProblems, fmt.Sprintf(
				"the ConfigMaps that the Pod reads have more than %d bytes; put less into them", policy.MaxInputSize))
			return nil
		}
		cm.ObjectMeta = metav1.ObjectMeta{Name: name, UID: cm.UID, ResourceVersion: cm.ResourceVersion}
		in.ConfigMaps[name] = cm
	}
	return o.reviewOf(ctx, found, in)
}

// reviewOf makes the review of what was read, of which a large Job takes the processor for a while.
func (o *Observer) reviewOf(ctx context.Context, found *Observation, in policy.ReviewInput) error {
	return o.look(ctx, found.Facts.Request, func() error {
		found.reviewOf(in)
		return nil
	})
}
