package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestChartIsWellFormed(t *testing.T) {
	odd := with(map[[2]string]float64{{"memory", "wspush"}: 0, {"hot-8", "wspush"}: -1, {"post-cpu", "coder"}: 1e-9})
	odd.Machine.CPU = `<"Xeon" & Co>`
	for name, r := range map[string]*Results{"whole": testResults(t), "empty": new(Results), "odd": odd} {
		for _, c := range []colors{light, dark} {
			chart := r.chart(c)
			for d := xml.NewDecoder(bytes.NewReader(chart)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v in %s", name, err, chart)
				}
			}
			for _, bad := range []string{"NaN", "Inf", "no value", `="-`, "<script"} {
				if bytes.Contains(chart, []byte(bad)) {
					t.Errorf("%s: %q in %s", name, bad, chart)
				}
			}
		}
	}
}

func TestChartDescribesItsBars(t *testing.T) {
	chart := string(testResults(t).chart(light))
	for _, want := range []string{
		`role="img"`, `<title id="title">`,
		"Memory of an idle connection (KB · less is better): wspush 4.60, coder 15.8, ",
		"Messages to one connection from 8 publishers (per second · more is better): wspush 2.47M, ",
	} {
		if !strings.Contains(chart, want) {
			t.Errorf("no %q in %s", want, chart)
		}
	}
}

func TestBarsAreInProportion(t *testing.T) {
	p := with(map[[2]string]float64{{"memory", "wspush"}: 5, {"memory", "coder"}: 20, {"memory", "nchan"}: 1e-6}).panel("memory", "")
	got := []int{}
	for _, bar := range p.Bars {
		got = append(got, bar.Width)
	}
	if len(got) != 3 || got[0] != (barW+2)/4 || got[1] != barW || got[2] != 2 {
		t.Errorf("got %v", got)
	}
}

// Text needs 4.5:1, and what is drawn 3:1 (WCAG 2.1, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	for name, c := range map[string]colors{"light": light, "dark": dark} {
		for _, pair := range []struct {
			fore, back string
			least      float64
		}{
			{c.Text, c.Panel, 4.5}, {c.Dim, c.Panel, 4.5}, {c.Text, c.Page, 4.5}, {c.Dim, c.Page, 4.5},
			{c.Ours, c.Panel, 3}, {c.Peer, c.Panel, 3}, {c.Ours, c.Peer, 2.5},
		} {
			a, b := luminance(t, pair.fore), luminance(t, pair.back)
			if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < pair.least {
				t.Errorf("%s: %s on %s is %.2f:1, not %v:1", name, pair.fore, pair.back, got, pair.least)
			}
		}
	}
}

// luminance is the relative luminance that WCAG defines.
func luminance(t *testing.T, color string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		channel := float64(v) / 255
		if channel <= 0.04045 {
			sum += weight * channel / 12.92
		} else {
			sum += weight * math.Pow((channel+0.055)/1.055, 2.4)
		}
	}
	return sum
}
