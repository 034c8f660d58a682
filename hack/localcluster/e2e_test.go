// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package localcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const withNode = true

func TestAPodRunsAnImageByDigestAndReachesTheCluster(t *testing.T) {
	c := startCluster(t, Options{Node: true, AWS: true, Fast: true})
	dir := t.TempDir()
	buildProbe(t, dir)
	archive := filepath.Join(t.TempDir(), "probe.tar")
	if err := BuildImage(t.Context(), dir, "Dockerfile", "localhost/probe:1", archive); err != nil {
		t.Fatal(err)
	}
	digest, err := c.LoadImage(t.Context(), archive, "localhost/probe:1")
	if err != nil {
		t.Fatal(err)
	}

	client := clientFor(t, c.AdminConfig())
	a := c.AWS()
	urls := []string{"https://" + serviceAddress + "/readyz", a.InClusterSTS + healthPath, a.InClusterS3 + healthPath}
	job := runJob(t, client, WithDigest("localhost/probe:1", digest), urls)
	err = eventually(t.Context(), time.Minute, func(ctx context.Context) error {
		j, err := client.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		if err == nil && j.Status.Succeeded == 0 {
			err = fmt.Errorf("the Job's status is %+v", j.Status)
		}
		return err
	})
	logs := logsOf(t, client, job)
	if err != nil {
		t.Fatalf("%v\n%s", err, logs)
	}
	if strings.Count(logs, "200 OK") != len(urls) {
		t.Errorf("the Pod does not reach all of %v:\n%s", urls, logs)
	}
}

func TestTwoNodesRunSideBySide(t *testing.T) {
	startCluster(t, Options{Node: true, Fast: true})
	startCluster(t, Options{Node: true, Fast: true})
}

// buildProbe writes an image's context: a program that fetches the addresses it is given.
func buildProbe(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{
		"Dockerfile": "FROM scratch\nCOPY probe /probe\nUSER 65532\nENTRYPOINT [\"/probe\"]\n",
		"go.mod":     "module probe\n\ngo 1.26\n",
		"main.go": `package main

import ("crypto/tls"; "fmt"; "net/http"; "os")

func main() {
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	for _, url := range os.Args[1:] {
		res, err := http.Get(url)
		if err != nil { fmt.Println(err); os.Exit(1) }
		fmt.Println(url, res.Status)
	}
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-C", dir, "-o", "probe", ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func runJob(t *testing.T, client kubernetes.Interface, image string, args []string) *batchv1.Job {
	t.Helper()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
	job.Spec.BackoffLimit = new(int32)
	job.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "probe", Image: image, ImagePullPolicy: corev1.PullNever, Args: args}},
	}
	job, err := client.BatchV1().Jobs(metav1.NamespaceDefault).Create(t.Context(), job, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func logsOf(t *testing.T, client kubernetes.Interface, job *batchv1.Job) string {
	t.Helper()
	pods, err := client.CoreV1().Pods(job.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job.Name})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the Job has no Pod: %v", err)
	}
	logs, err := client.CoreV1().Pods(job.Namespace).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(logs)
}
