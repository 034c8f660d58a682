// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"cmp"
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/policy"
)

// reviewed is what whoever decides has to read: what the credential may do, and all that can touch the step.
type reviewed struct {
	Scope []string `json:"scope"`
	// NotCovered can change after the approval.
	NotCovered []string `json:"not_covered,omitempty"`
	// Job has all that the Job sets, the nearest to the credential first.
	Job []section `json:"job,omitempty"`
	// ConfigMaps that are read, as they were reviewed. Their content is for whoever may read it.
	ConfigMaps []string `json:"configmaps,omitempty"`
	// Unshown says what is not here, and why.
	Unshown string `json:"unshown,omitempty"`
}

// section has the lines that stand under one heading.
type section struct {
	Heading string   `json:"heading"`
	Lines   []string `json:"lines"`
}

// maxReview is how many bytes of a Job's lines are shown. What was left out is said.
const maxReview = 16 << 10

// review is what a request that waits for approval would have approved.
func (s *Server) review(ctx context.Context, st stand) *reviewed {
	review := st.request.Status.Review
	r := &reviewed{Scope: review.Scope, NotCovered: review.NotCovered}
	for _, in := range review.Inputs {
		r.ConfigMaps = append(r.ConfigMaps, in.Name+", SHA-256 "+cmp.Or(in.SHA256, "none: it does not exist, and will not exist for the Pod"))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	job := &batchv1.Job{}
	err := s.client.Get(ctx, client.ObjectKey{Namespace: st.request.Namespace, Name: review.Job.Name}, job)
	switch {
	case apierrors.IsNotFound(err) || (err == nil && string(job.UID) != review.Job.UID):
		r.Unshown = "the Job that was reviewed is gone"
	case err != nil:
		r.Unshown = "the Job cannot be read: " + policy.Clip(err.Error(), maxMessage)
	default:
		r.add(policy.Reading(job, review.Job.Container), st.request.Name, st.request.Namespace)
	}
	return r
}

// add puts lines under their headings, as far as there is room.
func (r *reviewed) add(lines []policy.Line, name, namespace string) {
	room := maxReview
	for i, l := range lines {
		text := l.Label() + ": " + l.String()
		if room -= len(text); room < 0 {
			r.Unshown = fmt.Sprintf("%d of %d lines, for which there is no room; a person reads them with: kubectl valetkey describe %s -n %s",
				len(lines)-i, len(lines), name, namespace)
			return
		}
		heading := l.Danger.String()
		if n := len(r.Job); n == 0 || r.Job[n-1].Heading != heading {
			r.Job = append(r.Job, section{Heading: heading})
		}
		last := &r.Job[len(r.Job)-1]
		last.Lines = append(last.Lines, text)
	}
}
