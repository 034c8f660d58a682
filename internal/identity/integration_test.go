// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
)

func TestARealAPIServersTokenIsTheAccountsOwnForOneAudience(t *testing.T) {
	cluster := clustertest.Start(t, localcluster.Options{Fast: true})
	admin, err := kubernetes.NewForConfig(cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "identities"}}
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "publisher", Annotations: map[string]string{v1alpha1.AnnotationCapability: "publish"}}}
	if _, err := admin.CoreV1().ServiceAccounts("identities").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := identity.NewSource(admin, "identities").Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	got := claimsOf(t, token)
	if diff := cmp.Diff([]string{"sts.amazonaws.com"}, got.Audiences); diff != "" || got.Subject != "system:serviceaccount:identities:publisher" {
		t.Errorf("subject %s, audiences (-want +got):\n%s", got.Subject, diff)
	}
	if lifetime := got.Expires - got.Issued; lifetime != 600 {
		t.Errorf("lives for %d seconds, want 600", lifetime)
	}

	config, err := cluster.UserConfig("nobody")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.NewSource(nobody, "identities").Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
	if !provider.IsRetryable(err) || !provider.IsRefused(err) || err.Error() != "looking up ServiceAccount publisher: Forbidden" {
		t.Errorf("without a right: got %v", err)
	}
}

type claims struct {
	Audiences []string `json:"aud"`
	Subject   string   `json:"sub"`
	Issued    int64    `json:"iat"`
	Expires   int64    `json:"exp"`
}

func claimsOf(t *testing.T, token identity.Token) claims {
	t.Helper()
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		t.Fatal("no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal("no JWT")
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal("no JWT")
	}
	return c
}
