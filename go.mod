module github.com/castaway-go/castaway

go 1.26.0
