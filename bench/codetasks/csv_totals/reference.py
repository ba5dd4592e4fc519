import csv


def totals(path):
    sums = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sums[row["name"]] = sums.get(row["name"], 0.0) + float(row["amount"])
    return sums
