// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/internal/controller/observe"
)

func TestRefused_IsAStatusOfTheAPIServers(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"%s","code":%d}`
	for name, tc := range map[string]struct {
		code int
		kind string
		body string
		want bool
	}{
		"forbidden":                {http.StatusForbidden, "application/json", fmt.Sprintf(status, "Forbidden", 403), true},
		"a conflict":               {http.StatusConflict, "application/json", fmt.Sprintf(status, "Conflict", 409), true},
		"a page of a proxy's":      {http.StatusForbidden, "text/html", "<html>Forbidden</html>", false},
		"a proxy's words":          {http.StatusTooManyRequests, "text/plain", "slow down", false},
		"JSON that is no Status":   {http.StatusNotFound, "application/json", `{"error":"no route"}`, false},
		"an empty answer":          {http.StatusBadRequest, "application/json", "", false},
		"a time-out":               {http.StatusRequestTimeout, "application/json", fmt.Sprintf(status, "Timeout", 408), false},
		"an internal error":        {http.StatusInternalServerError, "application/json", fmt.Sprintf(status, "InternalError", 500), false},
		"a time-out in the server": {http.StatusGatewayTimeout, "application/json", fmt.Sprintf(status, "Timeout", 504), false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			config := &rest.Config{Host: server.URL, APIPath: "/api", ContentConfig: rest.ContentConfig{GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion()}}
			client, err := rest.RESTClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			err = client.Post().Resource("configmaps").Namespace("a").Body([]byte("{}")).MaxRetries(0).Do(t.Context()).Error()
			if got := observe.Refused(err); err == nil || got != tc.want {
				t.Errorf("got %v for %v", got, err)
			}
		})
	}
}
