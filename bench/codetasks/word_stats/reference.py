def words(text):
    return text.lower().split()


def count_words(text):
    counts = {}
    for word in words(text):
        counts[word] = counts.get(word, 0) + 1
    return counts


def longest_word(text):
    return max(words(text), key=len, default="")
