// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// listed are an agent's requests.
type listed struct {
	Requests []line `json:"requests"`
	// More is how many there was no room for.
	More int    `json:"more,omitempty"`
	Next string `json:"next"`
}

// line is one of them.
type line struct {
	Name  string `json:"name"`
	State state  `json:"state"`
	asked
}

// maxListed is how many requests are listed.
const maxListed = 20

// status says where a request stands, and what can be done.
func (s *Server) status(ctx context.Context, c *call) answer {
	name := c.text(fieldName)
	if name == "" {
		return s.list(ctx)
	}
	st, err := s.look(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return s.absent(name)
	case err != nil:
		return failure(err, nil)
	}
	t := s.explained(ctx, st)
	t.Asked = askedOf(st.request)
	if t.State == stateAwaiting && st.request.Status.Review != nil {
		t.Review = s.review(ctx, st)
	}
	return answer{body: t}
}

// list has the agent's own requests, the newest first.
func (s *Server) list(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	who, err := s.inquirer.Whoami(ctx)
	if err != nil {
		return failure(err, nil)
	}
	found := &v1alpha1.CapabilityRequestList{}
	if err := s.client.List(ctx, found, client.InNamespace(s.namespace)); err != nil {
		return failure(err, nil)
	}
	own := slices.DeleteFunc(found.Items, func(r v1alpha1.CapabilityRequest) bool { return r.Spec.Requester.Username != who.Username })
	slices.SortFunc(own, func(a, b v1alpha1.CapabilityRequest) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	said := listed{Requests: []line{}, More: max(0, len(own)-maxListed), Next: "call status with a name for more"}
	for i := range own[:min(len(own), maxListed)] {
		said.Requests = append(said.Requests, line{Name: own[i].Name, State: stand{request: &own[i]}.state(), asked: *askedOf(&own[i])})
	}
	if len(own) == 0 {
		said.Next = "you have asked for nothing here; call capabilities"
	}
	return answer{body: said}
}

// withdraw deletes a request, which ends its grant, and its Job. What has ended stays, to be read.
func (s *Server) withdraw(ctx context.Context, c *call) answer {
	name := c.text(fieldName)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	who, err := s.inquirer.Whoami(ctx)
	if err != nil {
		return failure(err, nil)
	}
	st, err := s.look(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return s.absent(name)
	case err != nil:
		return failure(err, nil)
	case st.request.Spec.Requester.Username != who.Username:
		return answer{failed: true, body: told{Name: name, State: st.state(), Rule: "one's own requests only",
			Message: fmt.Sprintf("it is the request of %s, not of %s", visible.Name(st.request.Spec.Requester.Username), visible.Name(who.Username)),
			Next:    "leave it; tell a person if it should end"}}
	case st.state() == stateEnded:
		t := s.tell(st)
		t.Next = "nothing is left to withdraw"
		return answer{body: t}
	}
	if err := s.remove(ctx, st); err != nil {
		return failure(err, askedOf(st.request))
	}
	t := told{Name: name, State: stateWithdrawn, Message: "it was deleted, and its Job; nothing had been issued", Next: "ask again if you still need it"}
	if st.grant != nil {
		t.Message = "it was deleted, and its Job; its grant is being ended"
		t.Until = instant(lifecycle.ExposedUntil(&st.grant.Status))
		switch {
		case t.Until != "":
			t.Message += "; where the credential cannot be revoked, a copy of it works until then"
		case st.grant.Status.CredentialExpiresAt != nil:
			t.Message += "; where the credential cannot be revoked, nobody can say until when a copy of it works"
		}
	}
	return answer{body: t}
}

// remove deletes the request before its Job, so that the grant's end says why.
func (s *Server) remove(ctx context.Context, st stand) error {
	err := s.client.Delete(ctx, st.request, client.Preconditions{UID: &st.request.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: st.request.Namespace, Name: policy.JobName(st.request)}}
	return client.IgnoreNotFound(s.client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
}
