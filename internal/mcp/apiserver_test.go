// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	agents = "agents"
	agent  = "system:serviceaccount:agents:web-app-bot"
	// token is the agent's own.
	token = "canary-bearer-token"
)

// apiServer is a transport that answers as an API server with Valetkey's rules does, as far as the tool's own calls go, and remembers
// every one of them.
type apiServer struct {
	client.WithWatch
	clock clock.PassiveClock

	mu    sync.Mutex
	calls []string
	// refusals are errors by call, as "POST jobs".
	refusals map[string]error
	// before runs before a call is answered, by call, as refusals are.
	before map[string]func(*http.Request)
	// answers hears of every call, if anybody listens.
	answers chan string
	// cut ends the watches of a kind at once.
	cut string
	// may is what the agent may do beside, such as "get secrets".
	may []string
	// uids counts what was created.
	uids int
}

// kinds are the resources that are known.
func kinds() map[string]schema.GroupVersionKind {
	ours := v1alpha1.GroupVersion
	return map[string]schema.GroupVersionKind{
		"capabilityrequests": ours.WithKind("CapabilityRequest"), "capabilitygrants": ours.WithKind("CapabilityGrant"),
		"capabilities": ours.WithKind("Capability"), "capabilitypolicies": ours.WithKind("CapabilityPolicy"),
		"jobs": {Group: "batch", Version: "v1", Kind: "Job"}, "namespaces": {Version: "v1", Kind: "Namespace"},
		"selfsubjectreviews":       {Group: "authentication.k8s.io", Version: "v1", Kind: "SelfSubjectReview"},
		"selfsubjectaccessreviews": {Group: "authorization.k8s.io", Version: "v1", Kind: "SelfSubjectAccessReview"},
		"clusterrolebindings":      {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
	}
}

func newAPIServer(t *testing.T, clock clock.PassiveClock, objects ...client.Object) *apiServer {
	t.Helper()
	noRoles := apierrors.NewForbidden(schema.GroupResource{Resource: "clusterrolebindings"}, "", errors.New("not an agent"))
	return &apiServer{clock: clock, refusals: map[string]error{"GET clusterrolebindings": noRoles}, WithWatch: fake.NewClientBuilder().WithScheme(newScheme(t)).
		WithObjects(objects...).WithStatusSubresource(&v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityGrant{}).Build()}
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// agent is a client whose calls all come through here.
func (a *apiServer) agent(t *testing.T) client.WithWatch {
	t.Helper()
	config := &rest.Config{Host: "http://api", BearerToken: token, QPS: -1, Transport: a, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
	mapper := meta.NewDefaultRESTMapper(nil)
	for resource, kind := range kinds() {
		scope := meta.RESTScopeNamespace
		if slices.Contains([]string{"capabilities", "capabilitypolicies", "namespaces", "selfsubjectreviews", "selfsubjectaccessreviews", "clusterrolebindings"}, resource) {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(kind, scope)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: newScheme(t), Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// RoundTrip implements [http.RoundTripper].
func (a *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.answer(r)
	if a.answers != nil {
		a.answers <- r.Method + " " + r.URL.Path
	}
	return response, err
}

func (a *apiServer) answer(r *http.Request) (*http.Response, error) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	parts := path[2:]
	if path[0] == "apis" {
		parts = path[3:]
	}
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	verb := r.Method
	if r.URL.Query().Get("watch") == "true" {
		verb = "WATCH"
	}
	a.mu.Lock()
	a.calls = append(a.calls, verb+" "+r.URL.Path)
	err, before := a.refusals[verb+" "+parts[0]], a.before[verb+" "+parts[0]]
	a.mu.Unlock()
	if before != nil {
		before(r)
	}
	if err != nil {
		if _, ok := err.(apierrors.APIStatus); !ok {
			return nil, err
		}
		return answered(nil, err)
	}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kinds()[parts[0]])
	o.SetNamespace(namespace)
	if len(parts) > 1 {
		o.SetName(parts[1])
	}
	switch verb {
	case "WATCH":
		return a.watched(r, parts[0], o)
	case http.MethodPost:
		return a.created(r, parts[0], o)
	case http.MethodDelete:
		if err := deleted(r, parts[0]); err != nil {
			return answered(nil, err)
		}
		return answered(&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}, a.Delete(r.Context(), o))
	}
	if len(parts) == 1 {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(o.GroupVersionKind().GroupVersion().WithKind(o.GetKind() + "List"))
		return answered(list, a.List(r.Context(), list, client.InNamespace(namespace)))
	}
	return answered(o, a.Get(r.Context(), client.ObjectKeyFromObject(o), o))
}

// created stamps what the rules stamp.
func (a *apiServer) created(r *http.Request, resource string, o *unstructured.Unstructured) (*http.Response, error) {
	if resource == "selfsubjectreviews" {
		review := &authenticationv1.SelfSubjectReview{}
		review.Status.UserInfo.Username = agent
		return answered(review, nil)
	}
	if resource == "selfsubjectaccessreviews" {
		return a.mayIt(r)
	}
	if err := json.NewDecoder(r.Body).Decode(o); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.uids++
	o.SetUID(types.UID(resource + string(rune('a'+a.uids))))
	a.mu.Unlock()
	o.SetCreationTimestamp(metav1.NewTime(a.clock.Now()))
	switch resource {
	case "capabilityrequests":
		_ = unstructured.SetNestedField(o.Object, agent, "spec", "requester", "username")
	case "jobs":
		_ = unstructured.SetNestedField(o.Object, true, "spec", "suspend")
		o.SetAnnotations(map[string]string{v1alpha1.AnnotationCreatedBy: agent})
	}
	return answered(o, a.Create(r.Context(), o))
}

// mayIt says what the agent may do.
func (a *apiServer) mayIt(r *http.Request) (*http.Response, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := json.NewDecoder(r.Body).Decode(review); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	asks := review.Spec.ResourceAttributes
	review.Status.Allowed = slices.Contains(a.may, asks.Verb+" "+asks.Resource)
	return answered(review, nil)
}

// deleted wants to be told which request it is, and that the Pod of a Job goes with it.
func deleted(r *http.Request, resource string) error {
	options := &metav1.DeleteOptions{}
	if err := json.NewDecoder(r.Body).Decode(options); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case resource == "capabilityrequests" && (options.Preconditions == nil || options.Preconditions.UID == nil):
		return apierrors.NewBadRequest("it could be another request of that name")
	case resource == "jobs" && (options.PropagationPolicy == nil || *options.PropagationPolicy != metav1.DeletePropagationBackground):
		return apierrors.NewBadRequest("its Pod would be left")
	}
	return nil
}

// watched streams what happens to one object.
func (a *apiServer) watched(r *http.Request, resource string, o *unstructured.Unstructured) (*http.Response, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(o.GroupVersionKind().GroupVersion().WithKind(o.GetKind() + "List"))
	_, name, _ := strings.Cut(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	ctx, cancel := context.WithCancel(r.Context())
	events, err := a.Watch(ctx, list, client.InNamespace(o.GetNamespace()))
	if err != nil || a.cut == resource {
		cancel()
		return response(http.StatusOK, io.NopCloser(&bytes.Buffer{})), err
	}
	reader, writer := io.Pipe()
	go func() {
		defer cancel()
		defer events.Stop()
		for {
			select {
			case <-ctx.Done():
				_ = writer.CloseWithError(ctx.Err())
				return
			case event := <-events.ResultChan():
				object, ok := event.Object.DeepCopyObject().(client.Object)
				if !ok || object.GetName() != name {
					continue
				}
				object.GetObjectKind().SetGroupVersionKind(o.GroupVersionKind())
				if json.NewEncoder(writer).Encode(map[string]any{"type": event.Type, "object": object}) != nil {
					return
				}
			}
		}
	}()
	return response(http.StatusOK, reader), nil
}

func answered(body any, err error) (*http.Response, error) {
	code := http.StatusOK
	if err != nil {
		status := err.(apierrors.APIStatus).Status()
		code, body = int(status.Code), &status
		status.Kind, status.APIVersion = "Status", "v1"
	}
	text, err := json.Marshal(body)
	return response(code, io.NopCloser(bytes.NewReader(text))), err
}

func response(code int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
}

func (a *apiServer) refuse(call string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusals[call] = err
}

// seen are the calls so far.
func (a *apiServer) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}
