/** Arabic: written from right to left, with six forms of plural. */

import type { Texts } from "./en";

const plural = new Intl.PluralRules("ar");
const number = (value: number) => value.toLocaleString("ar");

interface Forms {
  readonly zero: string;
  readonly one: string;
  readonly two: string;
  /** Behind 3 to 10. */
  readonly few: string;
  /** Behind 11 to 99. */
  readonly many: string;
  /** Behind hundreds. */
  readonly other: string;
}

function counted(count: number, forms: Forms): string {
  const form = plural.select(count);
  if (form === "zero" || form === "one" || form === "two") return forms[form];
  return `${number(count)} ${forms[form]}`;
}

/** A name that is written the other way keeps its place in the sentence. */
const own = (name: string) => `\u2068${name}\u2069`;

const unreadMessages: Forms = {
  zero: "لا رسائل غير مقروءة",
  one: "رسالة واحدة غير مقروءة",
  two: "رسالتان غير مقروءتين",
  few: "رسائل غير مقروءة",
  many: "رسالة غير مقروءة",
  other: "رسالة غير مقروءة",
};
const newMessages: Forms = {
  zero: "لا رسائل جديدة",
  one: "رسالة جديدة",
  two: "رسالتان جديدتان",
  few: "رسائل جديدة",
  many: "رسالة جديدة",
  other: "رسالة جديدة",
};
const members: Forms = {
  zero: "لا أعضاء",
  one: "عضو واحد",
  two: "عضوان",
  few: "أعضاء",
  many: "عضوًا",
  other: "عضو",
};
const unsentMessages: Forms = {
  zero: "",
  one: "رسالة واحدة لم تُرسل بعد",
  two: "رسالتان لم تُرسلا بعد",
  few: "رسائل لم تُرسل بعد",
  many: "رسالة لم تُرسل بعد",
  other: "رسالة لم تُرسل بعد",
};
const openDrafts: Forms = {
  zero: "",
  one: "مسودة واحدة لم تكتمل",
  two: "مسودتان لم تكتملا",
  few: "مسودات لم تكتمل",
  many: "مسودة لم تكتمل",
  other: "مسودة لم تكتمل",
};
const otherLogins: Forms = {
  zero: "كل دخول آخر",
  one: "الدخول الآخر",
  two: "الدخولين الآخرين",
  few: "عمليات دخول أخرى",
  many: "عملية دخول أخرى",
  other: "عملية دخول أخرى",
};
const endedLogins: Forms = {
  zero: "لا شيء",
  one: "دخول واحد",
  two: "دخولان",
  few: "عمليات دخول",
  many: "عملية دخول",
  other: "عملية دخول",
};
const minutes: Forms = {
  zero: "أقل من دقيقة",
  one: "دقيقة واحدة",
  two: "دقيقتين",
  few: "دقائق",
  many: "دقيقة",
  other: "دقيقة",
};
const hours: Forms = {
  zero: "أقل من ساعة",
  one: "ساعة واحدة",
  two: "ساعتين",
  few: "ساعات",
  many: "ساعة",
  other: "ساعة",
};
const seconds: Forms = {
  zero: "أقل من ثانية",
  one: "ثانية واحدة",
  two: "ثانيتين",
  few: "ثوانٍ",
  many: "ثانية",
  other: "ثانية",
};

export const ar: Texts = {
  name: "باندا",
  tagline: "تحدّث مع الأشخاص والمجموعات.",
  loading: "جارٍ التحميل…",
  close: "إغلاق",
  cancel: "إلغاء",
  back: "العودة إلى المحادثات",
  save: "حفظ",
  saved: "تم الحفظ.",
  more: "عرض المزيد",
  optional: "اختياري",
  you: "أنت",
  unknownPerson: "شخص غير معروف",
  notYetKnown: "…",

  signIn: {
    title: "تسجيل الدخول",
    username: "اسم المستخدم",
    password: "كلمة المرور",
    action: "دخول",
    busy: "جارٍ الدخول…",
    other: "جديد هنا؟",
    otherAction: "إنشاء حساب",
    again: "سجّل الدخول مجددًا",
    againWhy: (name) => `انتهت صلاحية دخولك. أدخل كلمة مرور ${name} للمتابعة. لن يضيع شيء مما كتبته.`,
    leftBehind:
      "خرجت من حسابك، لكن هذا المتصفح لم يسمح بإزالة كل شيء: قد تبقى محادثاتك محفوظة فيه. أغلق نوافذ هذه الصفحة الأخرى، وأزل بيانات هذا الموقع من إعدادات المتصفح.",
  },
  providers: {
    title: "حسابات في مواقع أخرى",
    help: "يمكنك الدخول هنا بها أيضًا.",
    logIn: (label) => `الدخول بحساب ${own(label)}`,
    link: (label) => `ربط حساب ${own(label)}`,
    unlink: "إلغاء الربط",
    unlinkWhich: (label) => `إلغاء ربط حساب ${own(label)}`,
    lastWayIn: "لن يبقى لك سبيل آخر للدخول: اربط حسابًا آخر أولًا.",
    failed: "لم ينجح ذلك",
    failures: {
      denied: "لم توافق هناك. لم يحدث شيء.",
      refused: "لم يُقبل الجواب من هناك. ابدأ من جديد.",
      unavailable: "لا جواب من هناك. حاول بعد قليل.",
      elsewhere: "بدأ هذا الدخول في نافذة أو متصفح آخر. ابدأ هنا من جديد.",
    },
  },
  signUp: {
    title: "إنشاء حساب",
    usernameHelp: "من 3 إلى 32 حرفًا إنجليزيًا أو رقمًا أو . _ -",
    email: "البريد الإلكتروني",
    passwordHelp: "8 أحرف على الأقل",
    action: "إنشاء الحساب",
    busy: "جارٍ الإنشاء…",
    other: "لديك حساب؟",
    otherAction: "تسجيل الدخول",
    showPassword: "إظهار كلمة المرور",
    hidePassword: "إخفاء كلمة المرور",
  },

  chats: {
    title: "المحادثات",
    make: "محادثة جديدة",
    profile: "الملف الشخصي والإعدادات",
    filter: "البحث عن محادثة",
    none: "لا محادثات بعد",
    noneHelp: "ابدأ محادثة مع شخص تعرف اسم مستخدمه، أو أنشئ مجموعة.",
    noMatch: (text) => `لا محادثة تطابق «${text}».`,
    choose: "اختر محادثة",
    chooseHelp: "تظهر رسائلك هنا. اضغط ? لمعرفة اختصارات لوحة المفاتيح.",
    unread: (count, exact) => (exact ? counted(count, unreadMessages) : `نحو ${counted(count, unreadMessages)}`),
    unreadMany: (most) => `+${most}`,
    nameless: "مجموعة بلا اسم",
    noMessages: "لا رسائل بعد",
    draft: "مسودة:",
    by: (name) => `${name}:`,
    sending: "تنتظر:",
    failed: "لم تُرسل:",
    opening: "جارٍ الفتح…",
  },

  chat: {
    messages: (name) => `الرسائل في ${name}`,
    members: (count) => counted(count, members),
    direct: "محادثة مباشرة",
    here: "كان هنا قبل قليل",
    showMembers: "الأعضاء",
    jump: "الانتقال إلى تاريخ",
    jumpAction: "انتقال",
    jumpNothing: "لا شيء في هذا اليوم ولا بعده.",
    jumpHelp: "تُعرض أول رسالة في ذلك اليوم أو التي تليه.",
    latest: "الانتقال إلى أحدث الرسائل",
    newBelow: (count) => counted(count, newMessages),
    unreadFrom: "جديد",
    begin: "بداية هذه المحادثة",
    beginHidden: "ترى هذه المحادثة من هنا فصاعدًا",
    empty: "لم يُقل شيء هنا بعد",
    emptyHelp: "اكتب أول رسالة في الأسفل.",
    gone: "لم تعد في هذه المحادثة. يبقى ما قرأته هنا إلى أن تغادر الصفحة.",
    missing: "لا توجد محادثة كهذه، أو لست فيها.",
    damaged: "لا يمكن فتح هذه المحادثة الآن؛ على مشغّل الخادم إصلاحها.",
    refused: (text) => `لا يمكن فتح هذه المحادثة: ${text}`,
    loadFailed: "تعذّر تحميل هذه الرسائل.",
    retryLoad: "حاول مجددًا",
    typing: (names) =>
      names.length === 1
        ? `${names[0] ?? ""} يكتب…`
        : names.length === 2
          ? `${names[0] ?? ""} و${names[1] ?? ""} يكتبان…`
          : "عدة أشخاص يكتبون…",
    said: (name, text) => `${name}: ${text}`,
    bounded: "لا يظهر إلا أحدث جزء من هذه المحادثة الطويلة. انتقل إلى تاريخ لرؤية ما قبله.",
  },

  compose: {
    placeholder: (name) => `رسالة إلى ${name}`,
    send: "إرسال",
    readerOnly: "يمكنك القراءة هنا دون الكتابة.",
    tooLong: (over, limit) =>
      `النص أطول من المسموح بمقدار ${number(over)} بايت. حدّ الرسالة ${number(limit)} بايت؛ اختصرها أو أرسلها على أجزاء.`,
    notKept: "لا يمكن حفظ ما تكتبه في هذا المتصفح: يضيع إن أُغلقت الصفحة قبل إرساله.",
  },

  states: {
    queued: "بانتظار الاتصال",
    sent: "جارٍ الإرسال",
    stored: "محفوظة",
    failed: "لم تُرسل",
    retry: "إرسال مجددًا",
    discard: "حذف",
    copyBack: "تعديل",
  },

  notices: {
    created: (actor, name) => (name === "" ? `بدأ ${own(actor)} هذه المحادثة` : `أنشأ ${own(actor)} المجموعة «${own(name)}»`),
    direct: (actor) => `بدأ ${own(actor)} هذه المحادثة`,
    added: (actor, member) => `أضاف ${own(actor)} العضو ${own(member)}`,
    joined: (member) => `انضم ${own(member)}`,
    removed: (actor, member) => `أزال ${own(actor)} العضو ${own(member)}`,
    left: (member) => `غادر ${own(member)}`,
    role: (actor, member, role) => `جعل ${own(actor)} العضو ${own(member)} ${role}`,
    renamed: (actor, name) => `غيّر ${own(actor)} اسم المجموعة إلى «${own(name)}»`,
    erased: "حُذف هذا",
    unknown: "شيء لا تعرفه هذه النسخة من الصفحة. أعد تحميلها لترى المزيد.",
  },

  roles: { reader: "قارئًا", member: "عضوًا", admin: "مشرفًا", owner: "مالكًا" },
  roleNames: { reader: "قارئ", member: "عضو", admin: "مشرف", owner: "مالك" },
  roleHelp: {
    reader: "يقرأ فقط",
    member: "يقرأ ويكتب",
    admin: "يضيف الأشخاص ويزيلهم أيضًا",
    owner: "يفعل كل شيء",
  },

  make: {
    title: "محادثة جديدة",
    kind: "أي نوع من المحادثات؟",
    direct: "شخص واحد",
    directHelp: "محادثة مباشرة بينكما",
    group: "مجموعة",
    person: "اسم المستخدم",
    people: "الأشخاص",
    add: "إضافة",
    remove: (name) => `إزالة ${name}`,
    name: "اسم المجموعة",
    start: "بدء المحادثة",
    create: "إنشاء المجموعة",
    busy: "جارٍ الإنشاء…",
    waiting: "تُنشأ حالما يعود الاتصال. يمكنك مغادرة هذه الصفحة؛ ستظهر بين محادثاتك.",
    needName: "أعطِ المجموعة اسمًا أو أضف شخصًا.",
    needPerson: "أدخل اسم مستخدم.",
    isYou: "هذا أنت. أدخل اسم شخص آخر.",
    twice: (name) => `${name} في القائمة بالفعل.`,
    nobody: (name) => `لا أحد باسم ${name}. تحقق من الكتابة.`,
    tooMany: (limit) => `${number(limit)} شخص على الأكثر دفعة واحدة. أضف الآخرين لاحقًا.`,
    nameTooLong: "هذا الاسم طويل جدًا.",
  },

  members: {
    title: "الأعضاء",
    add: "إضافة شخص",
    addAction: "إضافة",
    history: "يمكنهم قراءة ما قيل من قبل",
    remove: (name) => `إزالة ${name} من هذه المحادثة`,
    removeAction: "إزالة",
    removeAsk: (name) => `إزالة ${name}؟ لن يرى ما يُقال بعد ذلك.`,
    roleOf: (name) => `دور ${name}`,
    leave: "مغادرة هذه المحادثة",
    leaveAsk: "مغادرة هذه المحادثة؟ لن ترى ما يُقال بعد ذلك. يمكن لمن فيها أن يضيفك مجددًا.",
    leaveAction: "مغادرة",
    rename: "اسم المجموعة",
    renameAction: "تغيير الاسم",
    offline: "قائمة الأعضاء تحتاج إلى اتصال.",
    directHelp: "في المحادثة المباشرة هذان الشخصان دائمًا.",
    already: (name) => `${name} عضو بالفعل.`,
    done: "تم.",
  },

  profile: {
    title: "الملف الشخصي والإعدادات",
    about: "أنت",
    pictureElsewhere: "استخدام صورة من عنوان آخر",
    picture: "عنوان صورة",
    pictureHelp: "عنوان https بدلًا من صورة ترسلها. تظهر لمن يحمّل صور العناوين الأخرى.",
    pictureForm: "يجب أن يبدأ بـ https:// وألا يتجاوز 2048 بايت.",
    look: "المظهر",
    theme: "الألوان",
    themes: { system: "كالجهاز", light: "فاتح", dark: "داكن" },
    language: "اللغة",
    languages: { system: "كالمتصفح", en: "English", ar: "العربية" },
    pictures: "تحميل صور من عناوين أخرى",
    picturesHelp:
      "يستخدم بعض الأشخاص صورة من عنوان آخر. من يدير ذلك العنوان يعرف متى تنظر ومن أين. بدونها ترى الأحرف الأولى. أما الصور المرسلة إلى هذا الخادم فتظهر دائمًا.",
    keyboard: "لوحة المفاتيح",
    signOut: "تسجيل الخروج",
    signOutHelp: "يزيل محادثاتك ومسوداتك ورسائلك من هذا المتصفح.",
    signOutAsk: (unsent, drafts) =>
      unsent + drafts === 0
        ? "تسجيل الخروج؟ يُزال كل ما هو محفوظ في هذا المتصفح."
        : `تسجيل الخروج؟ ${[
            unsent > 0 ? counted(unsent, unsentMessages) : "",
            drafts > 0 ? counted(drafts, openDrafts) : "",
          ]
            .filter((part) => part !== "")
            .join("، و")}؛ الخروج يزيلها نهائيًا.`,
    changed: "غُيّر ملفك الشخصي في هذه الأثناء. انظر إليه مجددًا.",
  },

  picture: {
    choose: "اختيار صورة",
    change: "تغيير الصورة",
    remove: "إزالة الصورة",
    removeAsk: "إزالة صورتك؟ يرى الآخرون أول حرف من اسمك مجددًا.",
    removeAction: "إزالة",
    removed: "أُزيلت صورتك.",
    help: "بصيغة JPEG أو PNG أو WebP، حتى 8 ميغابايت. لا يُحفظ من الملف إلا الصورة نفسها، فلا مكان ولا نوع كاميرا.",
    title: "صورتك الجديدة",
    preview: "كيف ستبدو صورتك",
    note: "يُحفظ هذا الجزء، ويراه كل من يحق له رؤية اسمك.",
    use: "استخدام هذه الصورة",
    sending: "جارٍ الإرسال…",
    finishing: "أوشكت على الانتهاء…",
    tooLarge: "هذه الصورة كبيرة جدًا: الحد 8 ميغابايت و8192 بكسل للضلع و25 مليون بكسل إجمالًا. صغّرها أو اختر غيرها.",
    noPicture: "هذا الملف ليس صورة يمكن استخدامها. اختر صورة بصيغة JPEG أو PNG أو WebP.",
    tooMany: "أرسلت صورًا كثيرة قبل قليل. انتظر دقيقة ثم حاول مجددًا.",
    tooSlow: "استغرق الإرسال وقتًا طويلًا، وربما لم تصل الصورة. صغّرها أو حاول عبر اتصال أسرع.",
    nowhere: "هذا الخادم لا يحفظ الصور. يمكنك استخدام صورة من عنوان آخر.",
  },

  devices: {
    title: "الأجهزة",
    about: "اعرف أين سجّلت دخولك، وأنهِ دخولًا لا تعرفه أو لا تحتاجه.",
    show: "عرض الأجهزة",
    back: "العودة إلى الملف الشخصي",
    help: "كل متصفح أو برنامج سجّلت دخولك فيه ولم تخرج منه. من يستخدم ما تنهيه عليه إدخال كلمة المرور هناك.",
    unknown: "جهاز بلا اسم",
    current: "هذا الجهاز",
    since: (when) => `سُجّل الدخول: ${when}`,
    used: (when) => `آخر استخدام: نحو ${when}`,
    end: "إنهاء الدخول",
    endOne: (name) => `إنهاء الدخول: ${own(name)}`,
    endAsk: "إنهاء هذا الدخول؟ تُغلق المحادثات هناك خلال ثانية. الرسائل المنتظرة هناك تُرسل حين يُسجَّل الدخول هناك مجددًا.",
    endOthers: "إنهاء كل دخول آخر",
    endOthersAsk: (count) =>
      `${count === 1 ? "إنهاء الدخول الآخر" : `إنهاء ${counted(count, otherLogins)}`}؟ يبقى هذا الجهاز وحده مسجّل الدخول. الرسائل المنتظرة في غيره تُرسل حين يُسجَّل الدخول هناك مجددًا.`,
    ended: (count) => `أُنهي ${counted(count, endedLogins)}.`,
    again: "حاول مجددًا",
  },

  link: {
    connecting: "جارٍ الاتصال…",
    catchingUp: "متصل. جارٍ جلب ما فات…",
    waiting: (count) => `لا اتصال. محاولة جديدة بعد ${counted(count, seconds)}.`,
    waitingNow: "لا اتصال. جارٍ المحاولة…",
    kept: "ما تكتبه ينتظر حتى ذلك الحين.",
    tryNow: "حاول الآن",
    lagging: "تصل رسائل كثيرة؛ هذه الصفحة تلحق بها.",
    replaced: "سُجّل دخول هذا المتصفح مرة أخرى في مكان آخر، وذاك يتابع. هل تستخدمه هنا بدلًا منه؟",
    useHere: "استخدمه هنا",
    outdated: "هذه الصفحة قديمة، أو لم يُحمَّل جزء منها. أعد تحميل الصفحة.",
    reload: "إعادة التحميل",
    revoked: "أُنهي دخولك من جهاز آخر أو من المشغّل. سجّل الدخول مجددًا للمتابعة.",
    originRefused: "لا يقبل الخادم اتصالات من هذا العنوان. يمكن لمشغّله السماح به.",
    stopped: (text) => `انتهى الاتصال ولا يعود من تلقاء نفسه: ${text}`,
    clockOff: (aheadMs) => {
      const inMinutes = Math.round(Math.abs(aheadMs) / 60_000);
      const off = inMinutes < 120 ? counted(inMinutes, minutes) : counted(Math.round(inMinutes / 60), hours);
      return `ساعة هذا الجهاز ${aheadMs > 0 ? "متقدمة" : "متأخرة"} بنحو ${off}. أوقات الرسائل من ساعة الخادم؛ اضبط الساعة لتتفقا.`;
    },
    memoryOnly:
      "لا يحفظ هذا المتصفح شيئًا لهذه الصفحة (نافذة خاصة، أو التخزين ممتلئ أو ممنوع). تضيع الرسائل المنتظرة إن أغلقتها.",
  },

  keys: {
    title: "لوحة المفاتيح",
    list: [
      ["Ctrl K", "البحث عن محادثة"],
      ["Alt ↑ / Alt ↓", "المحادثة السابقة والتالية"],
      ["Enter", "إرسال الرسالة"],
      ["Shift Enter", "سطر جديد"],
      ["Esc", "إغلاق المفتوح؛ العودة إلى القائمة"],
      ["Page Up / Page Down", "التنقل بين الرسائل"],
      ["Home / End", "أول رسالة وأحدثها، حين يكون التركيز على الرسائل"],
      ["?", "هذه القائمة"],
    ],
  },

  refusals: {
    offline: "لا اتصال الآن. حاول مجددًا حين يعود.",
    unreachable: "لا يمكن الوصول إلى الخادم. تحقق من اتصالك وحاول مجددًا.",
    storage: "لا يستطيع هذا المتصفح حفظ ذلك الآن: التخزين ممتلئ أو ممنوع.",
    too_many_waiting: "ينتظر الكثير الإرسال. انتظر حتى يعود الاتصال.",
    bad_credentials: "اسم المستخدم أو كلمة المرور غير صحيح.",
    taken: "هذا الاسم مأخوذ؛ اختر غيره.",
    rate_limited: "محاولات كثيرة. انتظر قليلًا ثم حاول مجددًا.",
    overloaded: "الخادم مشغول. انتظر قليلًا ثم حاول مجددًا.",
    unavailable: "لا يستطيع الخادم ذلك الآن؛ لم يحدث شيء. حاول مجددًا.",
    not_found: "هذا غير موجود، أو لا يحق لك رؤيته.",
    not_member: "لم تعد في هذه المحادثة.",
    forbidden: "دورك في هذه المحادثة لا يسمح بذلك.",
    limit_reached: "بُلغ حدّ: أحدهم في أقصى عدد من المحادثات، أو المحادثة ممتلئة.",
    too_large: "هذا طويل جدًا.",
    damaged: "ما هو محفوظ من هذه المحادثة تالف؛ على المشغّل إصلاحه.",
    token_expired: "انتهت صلاحية دخولك. سجّل الدخول مجددًا.",
    origin_refused: "لا يقبل الخادم اتصالات من هذا العنوان. يمكن لمشغّله السماح به.",
    invalid_request: "هذه القيمة غير مسموح بها هنا.",
  },

  nowhere: { title: "لا شيء هنا", help: "هذا العنوان لا يعرض شيئًا.", action: "إلى محادثاتك" },
  broken: {
    title: "حدث خطأ ما",
    help: "صادفت هذه الصفحة خطأ منها. ما كتبته محفوظ؛ أعد تحميل الصفحة للمتابعة.",
    action: "إعادة التحميل",
  },
};
