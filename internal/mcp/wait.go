// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// sign is how often a client that waits is told that it is still waited: some give up on what says nothing for a while.
const sign = 15 * time.Second

// wait says where a request stands when it has ended, when a person becomes needed, or when the time is up.
func (s *Server) wait(ctx context.Context, c *call) answer {
	name, timeout := c.text(fieldName), time.Duration(ptr.Deref(c.number(fieldTimeout), defaultTimeout))*time.Second
	var began state
	p := &progress{call: c}
	st, err := s.follow(ctx, name, timeout, func(st stand) bool {
		now := st.state()
		if began == "" {
			began = now
		}
		p.say(ctx, s.tell(st), s.clock.Now())
		return now.over() || (now == stateAwaiting && began != stateAwaiting)
	})
	switch {
	case apierrors.IsNotFound(err):
		return s.absent(name)
	case err != nil:
		return failure(err, nil)
	}
	return answer{body: s.explained(ctx, st)}
}

// follow watches a request and its grant until it has seen enough, or the time is up, and returns how they stand. Now and then it
// shows again what it saw last.
func (s *Server) follow(ctx context.Context, name string, timeout time.Duration, enough func(stand) bool) (stand, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+patience)
	defer cancel()
	requests, grants, err := s.changes(ctx, name)
	if err != nil {
		return stand{}, err
	}
	defer requests.Stop()
	defer grants.Stop()
	timer, signs := s.clock.NewTimer(timeout), s.clock.NewTicker(sign)
	defer timer.Stop()
	defer signs.Stop()
	var st stand
	for stale := true; ; {
		if stale {
			if st, err = s.look(ctx, name); err != nil {
				return st, err
			}
		}
		if enough(st) {
			return st, nil
		}
		stale = true
		open := true
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-timer.C():
			return st, nil
		case <-signs.C():
			stale = false
		case _, open = <-requests.ResultChan():
		case _, open = <-grants.ResultChan():
		}
		if !open {
			return s.look(ctx, name)
		}
	}
}

// changes of a request, and of its grant.
func (s *Server) changes(ctx context.Context, name string) (requests, grants watch.Interface, err error) {
	one := []client.ListOption{client.InNamespace(s.namespace), client.MatchingFields{"metadata.name": name}}
	if requests, err = s.client.Watch(ctx, &v1alpha1.CapabilityRequestList{}, one...); err != nil {
		return nil, nil, err
	}
	if grants, err = s.client.Watch(ctx, &v1alpha1.CapabilityGrantList{}, one...); err != nil {
		requests.Stop()
		return nil, nil, err
	}
	return requests, grants, nil
}

// look reads how a request and its grant stand now.
func (s *Server) look(ctx context.Context, name string) (stand, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	st := stand{request: &v1alpha1.CapabilityRequest{}}
	key := client.ObjectKey{Namespace: s.namespace, Name: name}
	if err := s.client.Get(ctx, key, st.request); err != nil {
		return st, err
	}
	grant := &v1alpha1.CapabilityGrant{}
	err := s.client.Get(ctx, key, grant)
	if err == nil && grant.Spec.RequestRef.UID == string(st.request.UID) {
		st.grant = grant
	}
	return st, client.IgnoreNotFound(err)
}

// progress tells a client that asked for it how what it waits for stands: when that has changed, and now and then.
type progress struct {
	*call
	told int
	last string
	at   time.Time
}

func (p *progress) say(ctx context.Context, t told, now time.Time) {
	message := string(t.State)
	for _, more := range []string{t.Message, t.Approve} {
		if more != "" {
			message += ": " + policy.Clip(visible.Line(more), 300)
		}
	}
	token := p.request.Params.GetProgressToken()
	if token == nil || (message == p.last && now.Sub(p.at) < sign) {
		return
	}
	p.told++
	p.last, p.at = message, now
	// Whoever no longer listens loses nothing: the answer says it again.
	_ = p.request.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: float64(p.told), Message: message})
}
