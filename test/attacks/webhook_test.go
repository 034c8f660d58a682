// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// somebodyElses is a mutating webhook that undoes what our stamps do, as often as it is asked, to objects labelled somebody:
// with else, or with the field of the requester that it forges.
func (w *world) somebodyElses(ctx context.Context, t *testing.T) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(undo))
	listener, err := net.Listen("tcp", net.JoinHostPort(w.cluster.HostAddress(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
	certificate, authority := selfSigned(t, net.ParseIP(w.cluster.HostAddress()))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	url, fail, again, none := server.URL, admissionv1.Fail, admissionv1.IfNeededReinvocationPolicy, admissionv1.SideEffectClassNone
	_, err = kubernetes.NewForConfigOrDie(w.configs[admin]).AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "somebody-elses"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "undo.example.com", ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: authority},
			FailurePolicy: &fail, ReinvocationPolicy: &again, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "somebody", Operator: metav1.LabelSelectorOpExists}}},
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule: admissionv1.Rule{APIGroups: []string{"batch", "valetkey.dev"}, APIVersions: []string{"*"}, Resources: []string{"jobs", "capabilityrequests"}}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []row{forgedByWebhook, startedByWebhook} {
		eventually(t, func() error { return r.holds(ctx, w) })
	}
}

// undo answers with a patch that starts the Job, or names another requester.
func undo(response http.ResponseWriter, request *http.Request) {
	var review admissionreviewv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	patch, kind := `[{"op":"add","path":"/spec/suspend","value":false}]`, admissionreviewv1.PatchTypeJSONPatch
	if review.Request.Kind.Kind != "Job" {
		patch = forgery(review.Request.Object.Raw)
	}
	review.Response = &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: []byte(patch), PatchType: &kind}
	review.Request = nil
	response.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(response).Encode(review); err != nil {
		panic(fmt.Sprintf("the API server went away: %v", err))
	}
}

// forgery is a patch of the requester, or of the one field that the object's label names.
func forgery(raw []byte) string {
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &o); err != nil {
		panic(fmt.Sprintf("the API server sent what it cannot read itself: %v", err))
	}
	if value, known := forgeries[o.Labels["somebody"]]; known {
		return fmt.Sprintf(`[{"op":"add","path":"/spec/requester/%s","value":%s}]`, o.Labels["somebody"], value)
	}
	return `[{"op":"add","path":"/spec/requester","value":{"username":"system:admin"}}]`
}

func selfSigned(t *testing.T, address net.IP) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{address},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
