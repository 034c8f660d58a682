// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package observe_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/live"
)

// webhook is an authorizer that lets one account list Secrets, and has no opinion otherwise.
func webhook(w http.ResponseWriter, r *http.Request) {
	review := &authorizationv1.SubjectAccessReview{}
	if err := json.NewDecoder(r.Body).Decode(review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := review.Spec.ResourceAttributes
	review.Status.Allowed = a != nil && a.Verb == "list" && a.Resource == "secrets" &&
		review.Spec.User == "system:serviceaccount:agents:account-001"
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the test sees what comes of it
}

// TestExposure_ARealWebhookAuthorizerIsSeenAndAsked puts a webhook behind the authorizers of a real API server:
// what it gives to one account is found, which no role shows.
func TestExposure_ARealWebhookAuthorizerIsSeenAndAsked(t *testing.T) {
	cluster := clustertest.Start(t, localcluster.Options{Fast: true})
	admin, err := client.New(cluster.AdminConfig(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	look := func() string {
		s := &apiServer{
			observer: &observe.Observer{Cache: admin, Live: live.New(admin), Access: admin, Clock: clock.RealClock{}, Answers: observe.NewAnswers(clock.RealClock{})},
		}
		return s.look(t, bot(), observe.Issuing)
	}
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: agents}}); err != nil {
		t.Fatal(err)
	}
	for _, object := range accounts(2) {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	if found := look(); found != "" {
		t.Errorf("with RBAC alone: %s", found)
	}
	listener, _, err := cluster.ListenTLS()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(webhook), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	if err := cluster.AddAuthorizer("https://" + listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	// The API server shows in no other way that it has taken the configuration.
	err = wait.PollUntilContextTimeout(
		t.Context(),
		100*time.Millisecond,
		90*time.Second,
		true,
		func(ctx context.Context) (bool, error) {
			review := &authorizationv1.SelfSubjectRulesReview{
				Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: agents},
			}
			err := admin.Create(ctx, review)
			return review.Status.Incomplete, err
		},
	)
	if err != nil {
		t.Fatalf("the API server does not take the webhook: %v", err)
	}
	if found := look(); !strings.Contains(
		found,
		"system:serviceaccount:agents:account-001 may list Secrets in namespace agents (the API server says so)",
	) {
		t.Errorf("with a webhook: %q", found)
	}
}
