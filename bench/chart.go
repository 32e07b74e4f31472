package main

import (
	"bytes"
	"fmt"
	"strings"
	"text/template"
)

// colors are those of one variant of the chart. That of wspush and that of its peers differ in lightness and not only in hue,
// for those who do not see the hue, and both stand out from the panel by 3:1 or more.
type colors struct {
	Page, Panel, Line string
	Text, Dim         string
	Ours, Peer        string
}

var (
	light = colors{
		Page: "#ffffff", Panel: "#f6f8fa", Line: "#d1d9e0",
		Text: "#1f2328", Dim: "#59636e",
		Ours: "#033d8b", Peer: "#848d97",
	}
	dark = colors{
		Page: "#0d1117", Panel: "#151b23", Line: "#3d444d",
		Text: "#f0f6fc", Dim: "#9198a1",
		Ours: "#79c0ff", Peer: "#656c76",
	}
)

// The panels of the chart.
var panels = []struct{ metric, title string }{
	{"memory", "Memory of an idle connection"},
	{"hot-8", "Messages to one connection from 8 publishers"},
	{"post-cpu", "Server CPU of a push by HTTP POST"},
	{"half-p99", "Publisher to client, p99, at half saturation"},
}

// The layout of the chart, in pixels.
const (
	width    = 860
	margin   = 20
	gap      = 16
	panelW   = (width - 2*margin - gap) / 2
	padding  = 16
	header   = 58 // of the chart, and of a panel
	rowH     = 25
	barX     = padding + 64       // right of the names
	barW     = panelW - barX - 64 // left of the figures
	captionH = 52
)

type chartPanel struct {
	X, Y, Height int
	Title, Unit  string
	Bars         []chartBar
}

type chartBar struct {
	Y, Width    int
	Name, Value string
	Ours        bool
}

// chart draws the panels as SVG, without scripts and fonts of its own, since GitHub shows neither.
func (r *Results) chart(c colors) []byte {
	rows := 1
	var drawn []chartPanel
	for _, p := range panels {
		drawn = append(drawn, r.panel(p.metric, p.title))
		rows = max(rows, len(drawn[len(drawn)-1].Bars))
	}
	panelH := header + rows*rowH + padding/2
	for i := range drawn {
		drawn[i].X = margin + i%2*(panelW+gap)
		drawn[i].Y = header + i/2*(panelH+gap)
		drawn[i].Height = panelH
	}
	bottom := header + (len(drawn)+1)/2*(panelH+gap)
	caption := r.caption()
	var b bytes.Buffer
	err := chartTemplate.Execute(&b, map[string]any{
		"Colors": c, "Panels": drawn, "Caption": caption, "Desc": describe(drawn, caption),
		"Height": bottom + captionH, "Bottom": bottom,
	})
	if err != nil {
		panic(err) // of the template, whatever the results are
	}
	return b.Bytes()
}

// panel has a bar for each server that was measured, in the order of the table.
func (r *Results) panel(name, title string) chartPanel {
	m, _ := metricNamed(name)
	p := chartPanel{Title: title, Unit: unitNames[m.unit] + " · less is better"}
	if m.more {
		p.Unit = unitNames[m.unit] + " · more is better"
	}
	servers := append([]string{"wspush"}, peers...)
	longest := 0.0
	for _, server := range servers {
		if s, ok := r.figures(m, server); ok {
			longest = max(longest, s.Median())
		}
	}
	for _, server := range servers {
		s, ok := r.figures(m, server)
		if !ok {
			continue
		}
		bar := chartBar{
			Y:    header + len(p.Bars)*rowH,
			Name: server, Value: number(s.Median()), Ours: server == "wspush",
			Width: 2, // so that one can see it is there
		}
		if longest > 0 {
			bar.Width = max(bar.Width, int(s.Median()/longest*float64(barW)+0.5))
		}
		p.Bars = append(p.Bars, bar)
	}
	return p
}

var unitNames = map[string]string{"KB": "KB", "1/s": "per second", "µs": "µs", "ms": "ms"}

// caption says where the figures come from, in two lines.
func (r *Results) caption() []string {
	m := r.Machine
	second := fmt.Sprintf("%s, %s; medians", m.Go, r.Date.Format("2006-01-02"))
	memory, _ := metricNamed("memory")
	if s, ok := r.figures(memory, "wspush"); ok {
		second += fmt.Sprintf(" of %d rounds", len(s.Samples))
	}
	if r.Quick {
		second += "; a quick run, its figures are rough"
	}
	return []string{fmt.Sprintf("%s, %d cores, %s, %s", m.CPU, m.Cores, m.Memory, m.Kernel), second}
}

// describe says in words what the panels show, for those who cannot see them.
func describe(panels []chartPanel, caption []string) string {
	var b strings.Builder
	for _, p := range panels {
		fmt.Fprintf(&b, "%s (%s): ", p.Title, p.Unit)
		if len(p.Bars) == 0 {
			b.WriteString("not measured")
		}
		for i, bar := range p.Bars {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(bar.Name + " " + bar.Value)
		}
		b.WriteString(". ")
	}
	return b.String() + strings.Join(caption, "; ") + "."
}

var chartTemplate = template.Must(template.New("chart").Funcs(template.FuncMap{
	"add": func(a, b int) int { return a + b },
	"mul": func(a, b int) int { return a * b },
}).Parse(`
{{- with .Colors -}}
<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" ` +
	fmt.Sprintf(`width="%d" height="{{$.Height}}" viewBox="0 0 %[1]d {{$.Height}}">`, width) + `
<title id="title">wspush and its peers</title>
<desc id="desc">{{html $.Desc}}</desc>
<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: {{.Text}} }
.head { font-size: 18px; font-weight: 600 }
.title { font-size: 14px; font-weight: 600 }
.dim { font-size: 12px; font-weight: 400; fill: {{.Dim}} }
.ours { font-weight: 700 }
.page { fill: {{.Page}} }
.panel { fill: {{.Panel}}; stroke: {{.Line}} }
.bar { fill: {{.Peer}} }
.bar.ours { fill: {{.Ours}} }
</style>
<rect class="page" width="100%" height="100%" rx="8"/>
{{- end}}
` + fmt.Sprintf(`<text class="head" x="%d" y="37">wspush and its peers<tspan class="dim" dx="12">WebSocket libraries for Go, and nginx with nchan</tspan></text>`, margin) + `
{{- range .Panels}}
<g transform="translate({{.X}} {{.Y}})">
` + fmt.Sprintf(`<rect class="panel" x="0.5" y="0.5" width="%d" height="{{.Height}}" rx="6"/>
<text class="title" x="%d" y="25">{{html .Title}}</text>
<text class="dim" x="%[2]d" y="43">{{html .Unit}}</text>`, panelW-1, padding) + `
{{- range .Bars}}
` + fmt.Sprintf(`<text{{if .Ours}} class="ours"{{end}} x="%d" y="{{add .Y 15}}" text-anchor="end">{{html .Name}}</text>
<rect class="bar{{if .Ours}} ours{{end}}" x="%d" y="{{add .Y 3}}" width="{{.Width}}" height="%d" rx="2"/>
<text{{if .Ours}} class="ours"{{end}} x="{{add .Width %d}}" y="{{add .Y 15}}">{{html .Value}}</text>`,
	barX-8, barX, rowH-9, barX+7) + `
{{- else}}
` + fmt.Sprintf(`<text class="dim" x="%d" y="%d">not measured</text>`, padding, header+15) + `
{{- end}}
</g>
{{- end}}
{{- range $i, $line := .Caption}}
` + fmt.Sprintf(`<text class="dim" x="%d" y="{{add (mul $i 18) (add $.Bottom 12)}}">{{html $line}}</text>`, margin) + `
{{- end}}
</svg>
`))
