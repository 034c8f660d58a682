// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/step"
)

// firstWord is how long ask waits for what the operator says first.
const firstWord = 10 * time.Second

// wish is a request with its Job, before they are created.
type wish struct {
	request *v1alpha1.CapabilityRequest
	step    step.Step
	// capability is nil where it is not known.
	capability *v1alpha1.Capability
	// named is set when the agent chose the name, restricted when no other Pods than restricted ones run in the namespace.
	named, restricted bool
}

// ask creates a request and its Job, unless the request would be refused, and says what the operator said first.
func (s *Server) ask(ctx context.Context, c *call) answer {
	look, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	who, err := s.inquirer.Whoami(look)
	if err != nil {
		return failure(err, nil)
	}
	w := s.wish(c, who)
	spec := &w.request.Spec
	found, err := s.inquirer.Would(look, who, inquiry.Ask{Capability: spec.Capability, Namespace: s.namespace,
		Repo: spec.Repo, Environment: spec.Environment, TTLSeconds: spec.TTLSeconds,
		Name: w.request.Name, TaskID: spec.TaskID, Actor: spec.Actor, Justification: spec.Justification})
	if err == nil {
		w.restricted, err = step.Restricted(look, s.client, s.namespace)
	}
	if err != nil {
		return failure(err, askedOf(w.request))
	}
	if !found.Blind {
		if refused := s.beforehand(found, w, c); refused != nil {
			return *refused
		}
	} else if problem := w.choose(c, nil); problem != "" {
		return w.invalid(problem)
	}
	if refused := s.create(look, w); refused != nil {
		return *refused
	}
	p := &progress{call: c}
	st, err := s.follow(ctx, w.request.Name, firstWord, func(st stand) bool {
		p.say(ctx, s.tell(st), s.clock.Now())
		return st.state() != stateAsked
	})
	if err != nil {
		// It is made; where it stands can be asked again.
		message := policy.Clip(err.Error(), maxMessage)
		return answer{body: told{Name: w.request.Name, State: stateAsked, Message: message, Next: "call wait"}}
	}
	t := s.explained(ctx, st)
	if found.Blind {
		t.Unchecked = found.Unread
	}
	return answer{body: t, failed: t.State == stateRefused}
}

// beforehand says what the operator would refuse; nil if it would not.
func (s *Server) beforehand(found inquiry.Found, w *wish, c *call) *answer {
	facts := found.Facts
	if facts.Capability != nil {
		if problem := w.choose(c, facts.Capability); problem != "" {
			a := w.invalid(problem)
			return &a
		}
		facts.Job = policy.AsHeld(w.job(), w.request.Spec.Requester.Username)
		_, risks, problems := policy.NewReview(policy.ReviewInput{Request: w.request, Job: facts.Job, Capability: facts.Capability,
			Provider: &v1alpha1.CapabilityProvider{}, Now: facts.Now})
		facts.Risks = slices.Concat(risks, facts.Risks)
		if problems != nil {
			facts.JobProblems = append(facts.JobProblems, problems.Error())
		}
	}
	facts.Request = w.request
	d, all := policy.Explain(facts)
	if d.Verdict != policy.Deny {
		return nil
	}
	t := told{State: stateRefused, Asked: askedOf(w.request), Rule: "Valetkey, " + d.Reason}
	t.Message = policy.Clip(d.Message, maxMessage)
	t.Asked.TTLSeconds = policy.TTL(w.request, facts.Capability)
	t.explain(d, all)
	t.Next = "nothing was created; " + t.Next
	return &answer{body: t, failed: true}
}

// wish is what the agent asks for; the step is not in it yet.
func (s *Server) wish(c *call, who v1alpha1.Identity) *wish {
	w := &wish{named: c.text(fieldName) != ""}
	w.request = &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: c.text(fieldName)}}
	if !w.named {
		w.request.Name = nameFor(c.text(fieldCapability), c.text(fieldTask))
	}
	w.request.Spec = v1alpha1.CapabilityRequestSpec{Capability: c.text(fieldCapability), TaskID: c.text(fieldTask), Actor: actor(c),
		Repo: c.text(fieldRepo), Environment: c.text(fieldEnvironment), Justification: c.text(fieldJustification), TTLSeconds: c.number(fieldTTL),
		Container: "step", Requester: who}
	return w
}

func (w *wish) invalid(problem string) answer {
	return answer{failed: true, body: told{State: stateInvalid, Asked: askedOf(w.request), Rule: "the capability's steps", Message: problem,
		Next: "nothing was created; call ask again with what is allowed"}}
}

// notInActors is what an actor cannot have.
const notInActors = `[^A-Za-z0-9._/#:@+-]+`

// nameFor makes a name of what is asked for, with room for the task.
func nameFor(capability, task string) string {
	const maxTask = 24
	task = step.NamePart(task, maxTask)
	return step.NamePart(capability, maxName-1-len(task)) + "-" + task
}

// actor is the client's own name for itself.
func actor(c *call) string {
	name := ""
	if info := c.request.ClientInfo(); info != nil {
		name = info.Name
	}
	const most = 128
	name = regexp.MustCompile(notInActors).ReplaceAllString(name, "-")
	name = strings.TrimLeft(name, "._/#:@+-")
	if name == "" {
		return "mcp"
	}
	return name[:min(len(name), most)]
}

// create creates both as the agent, or finds that the very same was asked for before; nil if they are there.
func (s *Server) create(ctx context.Context, w *wish) *answer {
	// The API server writes the requester itself.
	who := w.request.Spec.Requester
	w.request.Spec.Requester = v1alpha1.Identity{}
	wanted := w.request.DeepCopy()
	err := s.client.Create(ctx, w.request)
	if apierrors.IsAlreadyExists(err) {
		same, err := s.same(ctx, wanted, w, who)
		if err != nil {
			a := failure(err, askedOf(wanted))
			return &a
		}
		switch {
		case same:
			return nil
		case w.named:
			return &answer{failed: true, body: told{State: stateInvalid, Asked: askedOf(wanted), Rule: "one request a name",
				Message: fmt.Sprintf("there is another request %s", wanted.Name), Next: "nothing was created; leave name out, or choose another"}}
		}
		prefix := strings.TrimRight(wanted.Name[:min(len(wanted.Name), maxName-6)], "-") + "-"
		if same, err = s.sameUnder(ctx, prefix, wanted, w, who); err != nil {
			a := failure(err, askedOf(wanted))
			return &a
		} else if same {
			return nil
		}
		w.request = wanted.DeepCopy()
		w.request.GenerateName, w.request.Name = prefix, ""
		if err := s.client.Create(ctx, w.request); err != nil {
			a := failure(err, askedOf(wanted))
			return &a
		}
	} else if err != nil {
		a := failure(err, askedOf(wanted))
		return &a
	}
	return s.createJob(ctx, w)
}

// same reports whether the request of that name is this agent's own, alive, and asks for the same, with the same program. If only
// its Job is missing, the Job is created now.
func (s *Server) same(ctx context.Context, wanted *v1alpha1.CapabilityRequest, w *wish, who v1alpha1.Identity) (bool, error) {
	there, job := &v1alpha1.CapabilityRequest{}, &batchv1.Job{}
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(wanted), there); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	a, b := there.Spec, wanted.Spec
	if there.Status.EndedAt != nil || a.Requester.Username != who.Username || a.Container != b.Container || *askedOf(there) != *askedOf(wanted) {
		return false, nil
	}
	w.request = there
	ours := w.job()
	err := s.client.Get(ctx, client.ObjectKeyFromObject(ours), job)
	switch {
	case apierrors.IsNotFound(err) && there.Status.Review == nil:
		return true, s.client.Create(ctx, ours)
	case err != nil:
		return false, client.IgnoreNotFound(err)
	}
	return sameProgram(job, ours), nil
}

// sameUnder looks for one that was asked for when the plain name was taken already, and has a name that was made of it.
func (s *Server) sameUnder(ctx context.Context, prefix string, wanted *v1alpha1.CapabilityRequest, w *wish, who v1alpha1.Identity) (bool, error) {
	list := &v1alpha1.CapabilityRequestList{}
	if err := s.client.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
		return false, err
	}
	for i := range list.Items {
		if name := list.Items[i].Name; strings.HasPrefix(name, prefix) {
			another := wanted.DeepCopy()
			another.Name = name
			if same, err := s.same(ctx, another, w, who); same || err != nil {
				return same, err
			}
		}
	}
	return false, nil
}

func sameProgram(a, b *batchv1.Job) bool {
	p, q := &a.Spec.Template.Spec, &b.Spec.Template.Spec
	return len(p.Containers) == 1 && p.ServiceAccountName == q.ServiceAccountName && p.Containers[0].Image == q.Containers[0].Image &&
		slices.Equal(p.Containers[0].Command, q.Containers[0].Command) && slices.Equal(p.Containers[0].Args, q.Containers[0].Args)
}

// createJob creates the Job, or withdraws the request.
func (s *Server) createJob(ctx context.Context, w *wish) *answer {
	err := s.client.Create(ctx, w.job())
	if err == nil {
		return nil
	}
	a := failure(err, askedOf(w.request))
	t := a.body.(told)
	t.Message = policy.Clip("the Job was not created: "+err.Error(), maxMessage)
	// Whoever called may be gone; the request should not be left to time out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if gone := client.IgnoreNotFound(s.client.Delete(ctx, w.request, client.Preconditions{UID: &w.request.UID})); gone != nil {
		also := fmt.Sprintf("%s; and request %s was not withdrawn: %v", t.Message, w.request.Name, gone)
		t.Message = policy.Clip(also, maxMessage)
		t.Name, t.Next = w.request.Name, t.Next+"; without a Job the request times out by itself"
	} else {
		t.Message += "; the request was withdrawn"
	}
	return &answer{failed: true, body: t}
}
