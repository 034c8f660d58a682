// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// object is as much of a watched object as a timeline looks at. client-go would decode all of it, on the two cores that are measured.
type object struct {
	Metadata struct {
		Name, ResourceVersion string
		Labels                map[string]string
	}
	Spec struct {
		Suspend *bool
	}
	Status struct {
		Review     *struct{ Digest string }
		GrantName  string
		Attempt    int
		IssuedAt   *time.Time
		ExpiresAt  *time.Time
		EndedAt    *time.Time
		Stop       *struct{ Reason string }
		Revocation *struct{ Mode string }
		Conditions []condition
	}
}

type condition struct{ Type, Status string }

// is reports whether a condition is True.
func (o *object) is(kind string) bool {
	return slices.Contains(o.Status.Conditions, condition{Type: kind, Status: "True"})
}

// event is one of a watch.
type event struct {
	Type   string
	Object object
}

// see records what an event of one resource shows.
func (t *Timeline) see(resource string, e event, at time.Time) {
	o := &e.Object
	name := o.Metadata.Labels[v1alpha1.LabelRequest]
	if resource == "capabilityrequests" || resource == "capabilitygrants" {
		name = o.Metadata.Name
	}
	if name == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.stages(resource, name, e.Type == "DELETED", o) {
		t.put(name, s, at)
	}
	t.changed.Broadcast()
}

// stages are those that an object shows.
func (t *Timeline) stages(resource, name string, deleted bool, o *object) []Stage {
	switch resource {
	case "capabilityrequests":
		if o.Status.Review != nil {
			t.digests[name] = o.Status.Review.Digest
		}
		return shown(map[Stage]bool{Gone: deleted, Reviewed: o.Status.Review != nil, Named: o.Status.GrantName != "", Closed: o.Status.EndedAt != nil})
	case "capabilitygrants":
		if at := o.Status.ExpiresAt; at != nil {
			t.put(name, Expiry, *at)
		}
		return shown(map[Stage]bool{
			GrantGone: deleted, Granted: true, Begun: o.Status.Attempt > 0, Issued: o.Status.IssuedAt != nil, Delivered: o.is(v1alpha1.ConditionDelivered),
			Running: o.is(v1alpha1.ConditionRunning), Stopping: o.Status.Stop != nil, Revoked: o.Status.Revocation != nil, Ended: o.Status.EndedAt != nil,
		})
	case "jobs":
		started := o.Spec.Suspend != nil && !*o.Spec.Suspend
		return shown(map[Stage]bool{JobGone: deleted, Held: o.is("Suspended"), Started: started, Finished: o.is("Complete") || o.is("Failed")})
	case "secrets":
		return shown(map[Stage]bool{Stored: !deleted, SecretGone: deleted})
	default:
		t.pods[name] = o.Metadata.Name
		return shown(map[Stage]bool{PodMade: true, PodGone: deleted})
	}
}

func shown(stages map[Stage]bool) []Stage {
	var list []Stage
	for s, seen := range stages {
		if seen {
			list = append(list, s)
		}
	}
	return list
}

// watched are the paths of what is watched, by resource.
func watched(namespace string) map[string]string {
	paths := map[string]string{}
	for resource, group := range map[string]string{"capabilityrequests": "/apis/valetkey.dev/v1alpha1", "capabilitygrants": "/apis/valetkey.dev/v1alpha1",
		"jobs": "/apis/batch/v1", "secrets": "/api/v1", "pods": "/api/v1"} {
		paths[resource] = group + "/namespaces/" + namespace + "/" + resource
	}
	return paths
}

// Watch follows requests, grants, Jobs, Secrets and Pods of a namespace until the context ends. A watch that is lost is reported to fail:
// what it would have shown is missing from the timeline.
func (t *Timeline) Watch(ctx context.Context, config *rest.Config, namespace string, fail func(error)) error {
	for resource, path := range watched(namespace) {
		w, err := newWatcher(config, resource, path, t)
		if err != nil {
			return err
		}
		version, err := w.newest(ctx)
		if err != nil {
			return err
		}
		go func() {
			if err := w.run(ctx, version); ctx.Err() == nil {
				fail(fmt.Errorf("watching %s: %w", resource, err))
			}
		}()
	}
	return nil
}

// watcher follows one resource.
type watcher struct {
	client         rest.Interface
	resource, path string
	timeline       *Timeline
}

// newWatcher has a connection of its own, so that no watch waits for another, or for the calls that are measured.
func newWatcher(config *rest.Config, resource, path string, t *Timeline) (watcher, error) {
	config = rest.CopyConfig(config)
	config.UserAgent, config.NegotiatedSerializer = "valetkey-bench-watch-"+resource, scheme.Codecs.WithoutConversion()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return watcher{}, err
	}
	client, err := rest.UnversionedRESTClientForConfigAndClient(config, transport)
	return watcher{client: client, resource: resource, path: path, timeline: t}, err
}

// get waits where the API server says that it is not ready yet.
func (w watcher) get(ctx context.Context, query string) (io.ReadCloser, error) {
	accept := "application/json"
	if w.resource == "secrets" && strings.HasPrefix(query, "?watch") {
		accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	}
	return w.client.Get().RequestURI(w.path+query).SetHeader("Accept", accept).Stream(ctx)
}

// newest is the resource version to begin at.
func (w watcher) newest(ctx context.Context) (string, error) {
	body, err := w.get(ctx, "?limit=1")
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	err = json.NewDecoder(body).Decode(&list)
	return list.Metadata.ResourceVersion, err
}

// run watches until that fails, and goes on where the API server ended a watch.
func (w watcher) run(ctx context.Context, version string) error {
	for {
		var err error
		if version, err = w.once(ctx, version); err != nil {
			return err
		}
	}
}

// once follows one watch to its end, and returns the version to go on at.
func (w watcher) once(ctx context.Context, version string) (string, error) {
	body, err := w.get(ctx, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=3000&resourceVersion="+version)
	if err != nil {
		return version, err
	}
	defer func() { _ = body.Close() }()
	decoder := json.NewDecoder(body)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, err
		}
		at := time.Now()
		if e.Type == "ERROR" {
			return version, errors.New("the API server no longer has the version to go on at")
		}
		version = e.Object.Metadata.ResourceVersion
		if e.Type != "BOOKMARK" {
			w.timeline.see(w.resource, e, at)
		}
	}
}
